// The live allocations of a device, and whether a range of addresses lies in one of them.
#pragma once

#include <cstdint>
#include <map>
#include <shared_mutex>

namespace tamias {

// Memory the host could still give, in bytes: the machine's, or the container's where that is less.
struct HostMemory {
  uint64_t total = 0;
  uint64_t available = 0;
};
HostMemory host_memory();

// Uninitialised, 256-byte aligned; null where the host has too little.
void* allocate_aligned(uint64_t bytes);
void free_aligned(void* memory);

class Allocations {
 public:
  ~Allocations();

  uint64_t add(uint64_t bytes);  // the address; fails with TAMIAS_OUT_OF_MEMORY

  // Takes the range out, so that no new work can be given it. The caller frees the memory.
  void remove(uint64_t address);

  // The caller holds `mutex`, shared, until the work that uses the range is queued.
  bool contains(uint64_t address, uint64_t bytes) const;

  uint64_t bytes() const;

  mutable std::shared_mutex mutex;

 private:
  std::map<uint64_t, uint64_t> bytes_by_address_;
  uint64_t bytes_ = 0;
};

}  // namespace tamias
