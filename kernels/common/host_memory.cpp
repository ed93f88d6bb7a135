#include "host_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "memory_groups.h"
#include "number_files.h"

namespace tamias {
namespace {

constexpr uint64_t kHugePage = uint64_t{2} << 20;
constexpr uint64_t kLarge = 2 * kHugePage;  // worth whole huge pages, and a look at what is free
constexpr uint64_t kLargest = uint64_t{1} << 46;
constexpr uint64_t kSpare = uint64_t{64} << 20;  // left to the rest of the process

// Of this process alone, touched and in memory.
uint64_t resident_bytes() {
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  if (!file) return 0;
  unsigned long long whole, resident, shared;
  const int found = std::fscanf(file, "%llu %llu %llu", &whole, &resident, &shared);
  std::fclose(file);
  return found == 3 && resident > shared ? (resident - shared) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE)) : 0;
}

bool can_give(uint64_t bytes, uint64_t promised) {
  const uint64_t resident = resident_bytes();
  const uint64_t untouched = promised > resident ? promised - resident : 0;
  return bytes + untouched + kSpare <= host_memory().available;
}

}  // namespace

HostMemory host_memory(const std::string& root) {
  HostMemory memory;
  memory.total = number_in_file(root + "/proc/meminfo", "MemTotal:").value_or(0) * 1024;
  memory.available = number_in_file(root + "/proc/meminfo", "MemAvailable:").value_or(0) * 1024;
  for (const MemoryGroup& group : memory_groups(root)) {
    memory.total = std::min(memory.total, group.limit);
    memory.available = std::min(memory.available, group.limit - std::min(group.limit, group.used));
  }
  return memory;
}

void* allocate_aligned(uint64_t bytes, uint64_t promised) {
  if (bytes == 0) bytes = 1;
  if (bytes > kLargest) return nullptr;
  const bool large = bytes >= kLarge;
  if (large && !can_give(bytes, promised)) return nullptr;
  const uint64_t alignment = large ? kHugePage : 256;
  void* memory = nullptr;
  if (posix_memalign(&memory, alignment, bytes) != 0) return nullptr;
  if (large) madvise(memory, bytes, MADV_HUGEPAGE);
  return memory;
}

void free_aligned(void* memory) { std::free(memory); }

}  // namespace tamias
