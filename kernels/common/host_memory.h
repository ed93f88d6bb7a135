// Memory of the host: how much there is, and pieces of it for tensors and workspaces.
#pragma once

#include <cstdint>
#include <string>

namespace tamias {

// Memory the host could still give this process, in bytes: the machine's, or what the control groups that the process is
// in leave where that is less.
struct HostMemory {
  uint64_t total = 0;
  uint64_t available = 0;
};

// `root`: a folder with another machine's proc and sys, for tests.
HostMemory host_memory(const std::string& root = "");

// What may be allocated yet: some is left to the rest of the process. The kernel promises memory it does not have, and
// ends processes when it is touched: `promised` bytes that the caller holds already are counted as used, touched or not.
uint64_t allocatable_bytes(uint64_t promised);

// Uninitialised, 256-byte aligned; null where no more may be allocated.
void* allocate_aligned(uint64_t bytes, uint64_t promised);
// What is freed goes back to the system at once, unless it is small.
void free_aligned(void* memory, uint64_t bytes);  // as many as were asked for

}  // namespace tamias
