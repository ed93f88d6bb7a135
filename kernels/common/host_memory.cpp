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

constexpr uint64_t kAlignment = 256;
constexpr uint64_t kPage = 4096;
constexpr uint64_t kHugePage = uint64_t{2} << 20;
constexpr uint64_t kLarge = 2 * kHugePage;           // worth whole huge pages, and a look at what is free
constexpr uint64_t kLeastMapped = uint64_t{1} << 20;  // mapped apart from the heap, which would keep what is freed
constexpr uint64_t kLargest = uint64_t{1} << 46;
constexpr uint64_t kSpare = uint64_t{32} << 20;  // left to the rest of the process

// Of this process alone, touched and in memory.
uint64_t resident_bytes() {
  std::FILE* file = std::fopen("/proc/self/statm", "r");
  if (!file) return 0;
  unsigned long long whole, resident, shared;
  const int found = std::fscanf(file, "%llu %llu %llu", &whole, &resident, &shared);
  std::fclose(file);
  return found == 3 && resident > shared ? (resident - shared) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE)) : 0;
}

uint64_t round_up(uint64_t bytes, uint64_t unit) { return (bytes + unit - 1) / unit * unit; }

void* allocate_small(uint64_t bytes) {
  void* memory = nullptr;
  return posix_memalign(&memory, kAlignment, bytes) == 0 ? memory : nullptr;
}

uint64_t mapped_bytes(uint64_t bytes) { return round_up(bytes, bytes >= kLarge ? kHugePage : kPage); }

void* map_pages(uint64_t bytes) {
  const uint64_t length = mapped_bytes(bytes);
  const uint64_t slack = bytes >= kLarge ? kHugePage - kPage : 0;
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

uint64_t allocatable_bytes(uint64_t promised) {
  const uint64_t resident = resident_bytes();
  const uint64_t untouched = promised > resident ? promised - resident : 0;
  const uint64_t available = host_memory().available;
  return available - std::min(available, untouched + kSpare);
}

void* allocate_aligned(uint64_t bytes, uint64_t promised) {
  if (bytes == 0) bytes = 1;
  if (bytes > kLargest) return nullptr;
  if (bytes >= kLarge && bytes > allocatable_bytes(promised)) return nullptr;
  return bytes < kLeastMapped ? allocate_small(bytes) : map_pages(bytes);
}

void free_aligned(void* memory, uint64_t bytes) {
  if (bytes < kLeastMapped) {
    std::free(memory);
  } else {
    munmap(memory, mapped_bytes(bytes));
  }
}

}  // namespace tamias
