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

// Lies before the memory that is handed out, in bytes of its own.
struct Header {
  void* start;      // of what the system gave
  uint64_t length;  // of what was mapped; 0: from the heap
};

uint64_t round_up(uint64_t bytes, uint64_t unit) { return (bytes + unit - 1) / unit * unit; }

void* behind_header(uint64_t address, Header header) {
  *reinterpret_cast<Header*>(address - sizeof(Header)) = header;
  return reinterpret_cast<void*>(address);
}

void* allocate_small(uint64_t bytes) {
  void* start = nullptr;
  if (posix_memalign(&start, kAlignment, kAlignment + bytes) != 0) return nullptr;
  return behind_header(reinterpret_cast<uint64_t>(start) + kAlignment, {start, 0});
}

// Begins with a huge page where there are several; what lies before it is given back but for the header's page.
void* map_large(uint64_t bytes) {
  const bool huge = bytes >= 2 * kHugePage;
  const uint64_t alignment = huge ? kHugePage : kPage;
  const uint64_t length = round_up(bytes, alignment);
  const uint64_t mapped = alignment + length;
  void* given = mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (given == MAP_FAILED) return nullptr;
  const auto first = reinterpret_cast<uint64_t>(given);
  const uint64_t address = round_up(first + kPage, alignment);
  const uint64_t start = address - kPage;
  const uint64_t end = address + length;
  if (start > first) munmap(given, start - first);
  if (first + mapped > end) munmap(reinterpret_cast<void*>(end), first + mapped - end);
  if (huge) madvise(reinterpret_cast<void*>(address), length, MADV_HUGEPAGE);
  return behind_header(address, {reinterpret_cast<void*>(start), kPage + length});
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

void free_aligned(void* memory) {
  if (!memory) return;
  const Header header = reinterpret_cast<const Header*>(memory)[-1];
  if (header.length == 0) {
    std::free(header.start);
  } else {
    munmap(header.start, header.length);
  }
}

}  // namespace tamias
