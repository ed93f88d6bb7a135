// Limits that control groups set to this process's memory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tamias {

struct MemoryGroup {
  uint64_t limit;  // in bytes
  uint64_t used;   // without the cached files that the kernel would drop first
};

// The group that the process is in and those around it, as far as they have a limit; of both versions of the interface.
// `root` is put before all paths.
std::vector<MemoryGroup> memory_groups(const std::string& root);

}  // namespace tamias
