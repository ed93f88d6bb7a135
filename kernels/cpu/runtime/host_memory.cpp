#include "host_memory.h"

#include <sys/mman.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace tamias {
namespace {

constexpr uint64_t kAlignment = 256;
constexpr uint64_t kPage = 4096;
constexpr uint64_t kHugePage = uint64_t{2} << 20;
constexpr uint64_t kLargest = uint64_t{1} << 46;
// From here on memory is mapped apart from the heap, which would keep what is freed.
constexpr uint64_t kLeastMapped = uint64_t{1} << 20;

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

uint64_t round_up(uint64_t bytes, uint64_t unit) { return (bytes + unit - 1) / unit * unit; }

void* allocate_small(uint64_t bytes) {
  void* memory = nullptr;
  return posix_memalign(&memory, kAlignment, bytes) == 0 ? memory : nullptr;
}

// Whole huge pages where there are several.
bool is_huge(uint64_t bytes) { return bytes >= 2 * kHugePage; }
uint64_t mapped_bytes(uint64_t bytes) { return round_up(bytes, is_huge(bytes) ? kHugePage : kPage); }

void* map_large(uint64_t bytes) {
  const uint64_t length = mapped_bytes(bytes);
  const uint64_t slack = is_huge(bytes) ? kHugePage - kPage : 0;
  void* given = mmap(nullptr, length + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (given == MAP_FAILED) return nullptr;
  if (slack == 0) return given;
  const auto start = reinterpret_cast<uint64_t>(given);
  const uint64_t aligned = round_up(start, kHugePage);
  if (aligned > start) munmap(given, aligned - start);
  const uint64_t behind = start + slack - aligned;
  if (behind > 0) munmap(reinterpret_cast<void*>(aligned + length), behind);
  void* memory = reinterpret_cast<void*>(aligned);
  madvise(memory, length, MADV_HUGEPAGE);
  return memory;
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
  return bytes < kLeastMapped ? allocate_small(bytes) : map_large(bytes);
}

void free_aligned(void* memory, uint64_t bytes) {
  if (bytes < kLeastMapped) {
    std::free(memory);
  } else {
    munmap(memory, mapped_bytes(bytes));
  }
}

}  // namespace tamias
