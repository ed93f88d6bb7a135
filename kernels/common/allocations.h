// The live allocations of a device, and whether a range of addresses lies in one of them.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <shared_mutex>

#include "tamias.h"

namespace tamias {

enum class Place : int32_t { device = TAMIAS_DEVICE_MEMORY, host = TAMIAS_HOST_MEMORY };

class Allocations {
 public:
  void add(uint64_t address, uint64_t bytes, Place place);

  // Takes the range out, so that no new work can be given it. The caller frees the memory.
  Place remove(uint64_t address);

  // Where the range lies; nothing if it is not inside one live allocation. The caller holds `mutex`, shared, until the
  // work that uses the range is queued.
  std::optional<Place> find(uint64_t address, uint64_t bytes) const;

  uint64_t bytes(Place place) const;

  // Calls body(address, place) for each.
  template <class Body>
  void for_each(const Body& body) const {
    const std::shared_lock lock(mutex);
    for (const auto& [address, range] : ranges_) body(address, range.place);
  }

  mutable std::shared_mutex mutex;

 private:
  struct Range {
    uint64_t bytes;
    Place place;
  };

  std::map<uint64_t, Range> ranges_;  // by address
  uint64_t bytes_[2] = {};            // by place
};

}  // namespace tamias
