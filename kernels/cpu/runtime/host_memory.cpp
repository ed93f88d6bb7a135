#include "host_memory.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace tamias {
namespace {

constexpr uint64_t kHugePage = uint64_t{2} << 20;
constexpr uint64_t kLargest = uint64_t{1} << 46;

// The value of `key` in a file of "key value" lines, or `otherwise`.
uint64_t value_in_file(const char* path, const char* key, uint64_t otherwise) {
  std::FILE* file = std::fopen(path, "r");
  if (!file) return otherwise;
  uint64_t value = otherwise;
  char line[256];
  const size_t key_length = std::strlen(key);
  while (std::fgets(line, sizeof line, file)) {
    if (std::strncmp(line, key, key_length) != 0) continue;
    unsigned long long number;
    if (std::sscanf(line + key_length, "%llu", &number) == 1) value = number;
    break;
  }
  std::fclose(file);
  return value;
}

}  // namespace

HostMemory host_memory() {
  HostMemory memory;
  memory.total = value_in_file("/proc/meminfo", "MemTotal:", 0) * 1024;
  memory.available = value_in_file("/proc/meminfo", "MemAvailable:", 0) * 1024;
  const uint64_t limit = value_in_file("/sys/fs/cgroup/memory.max", "", UINT64_MAX);
  if (limit < memory.total) {
    const uint64_t current = value_in_file("/sys/fs/cgroup/memory.current", "", 0);
    const uint64_t reclaimable = value_in_file("/sys/fs/cgroup/memory.stat", "inactive_file", 0);
    const uint64_t used = current > reclaimable ? current - reclaimable : 0;
    const uint64_t left = limit > used ? limit - used : 0;
    memory.total = limit;
    if (left < memory.available) memory.available = left;
  }
  return memory;
}

void* allocate_aligned(uint64_t bytes) {
  if (bytes == 0) bytes = 1;
  if (bytes > kLargest) return nullptr;
  // The kernel promises memory it does not have; asking it about large requests turns a later kill into an error now.
  if (bytes >= 8 * kHugePage && bytes > host_memory().available) return nullptr;
  const bool large = bytes >= 2 * kHugePage;
  const uint64_t alignment = large ? kHugePage : 256;
  void* memory = nullptr;
  if (posix_memalign(&memory, alignment, bytes) != 0) return nullptr;
  if (large) madvise(memory, bytes, MADV_HUGEPAGE);
  return memory;
}

void free_aligned(void* memory) { std::free(memory); }

}  // namespace tamias
