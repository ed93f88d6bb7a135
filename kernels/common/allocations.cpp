#include "allocations.h"

#include <mutex>

#include "failure.h"

namespace tamias {

void Allocations::add(uint64_t address, uint64_t bytes, Place place) {
  const std::unique_lock lock(mutex);
  ranges_.emplace(address, Range{bytes, place});
  bytes_[static_cast<int>(place)] += bytes;
}

Place Allocations::remove(uint64_t address) {
  const std::unique_lock lock(mutex);
  const auto found = ranges_.find(address);
  if (found == ranges_.end()) {
    refuse("address is 0x%llx, which is no live allocation of this device", (unsigned long long)address);
  }
  const Place place = found->second.place;
  bytes_[static_cast<int>(place)] -= found->second.bytes;
  ranges_.erase(found);
  return place;
}

std::optional<Place> Allocations::find(uint64_t address, uint64_t bytes) const {
  auto next = ranges_.upper_bound(address);
  if (next == ranges_.begin()) return std::nullopt;
  --next;
  const uint64_t offset = address - next->first;
  const Range& range = next->second;
  if (offset > range.bytes || bytes > range.bytes - offset) return std::nullopt;
  return range.place;
}

uint64_t Allocations::bytes(Place place) const {
  const std::shared_lock lock(mutex);
  return bytes_[static_cast<int>(place)];
}

}  // namespace tamias
