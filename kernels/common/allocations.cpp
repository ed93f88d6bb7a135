#include "allocations.h"

#include <mutex>

#include "failure.h"

namespace tamias {

void Allocations::add(uint64_t address, uint64_t bytes) {
  const std::unique_lock lock(mutex);
  bytes_by_address_.emplace(address, bytes);
  bytes_ += bytes;
}

uint64_t Allocations::remove(uint64_t address) {
  const std::unique_lock lock(mutex);
  const auto found = bytes_by_address_.find(address);
  if (found == bytes_by_address_.end()) {
    refuse("address is 0x%llx, which is no live allocation of this device", (unsigned long long)address);
  }
  const uint64_t bytes = found->second;
  bytes_ -= bytes;
  bytes_by_address_.erase(found);
  return bytes;
}

bool Allocations::contains(uint64_t address, uint64_t bytes) const {
  auto next = bytes_by_address_.upper_bound(address);
  if (next == bytes_by_address_.begin()) return false;
  --next;
  const uint64_t offset = address - next->first;
  return offset <= next->second && bytes <= next->second - offset;
}

uint64_t Allocations::bytes() const {
  const std::shared_lock lock(mutex);
  return bytes_;
}

std::map<uint64_t, uint64_t> Allocations::by_address() const {
  const std::shared_lock lock(mutex);
  return bytes_by_address_;
}

}  // namespace tamias
