// The live allocations of a device, and whether a range of addresses lies in one of them.
#pragma once

#include <cstdint>
#include <map>
#include <shared_mutex>

namespace tamias {

class Allocations {
 public:
  void add(uint64_t address, uint64_t bytes);

  // Takes the range out, so that no new work can be given it, and says how long it is. The caller frees the memory.
  uint64_t remove(uint64_t address);

  // The caller holds `mutex`, shared, until the work that uses the range is queued.
  bool contains(uint64_t address, uint64_t bytes) const;

  uint64_t bytes() const;
  std::map<uint64_t, uint64_t> by_address() const;

  mutable std::shared_mutex mutex;

 private:
  std::map<uint64_t, uint64_t> bytes_by_address_;
  uint64_t bytes_ = 0;
};

}  // namespace tamias
