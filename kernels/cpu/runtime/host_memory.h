// Memory of the host, for tensors and workspaces.
#pragma once

#include <cstdint>

namespace tamias {

// Memory the host could still give, in bytes: the machine's, or the container's where that is less.
struct HostMemory {
  uint64_t total = 0;
  uint64_t available = 0;
};
HostMemory host_memory();

// Uninitialised, 256-byte aligned; null where the host has too little. What is freed goes back to the system at once,
// unless it is small.
void* allocate_aligned(uint64_t bytes);
void free_aligned(void* memory, uint64_t bytes);  // as many as were asked for

}  // namespace tamias
