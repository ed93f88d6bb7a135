#include "device.h"

#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <thread>

#include "common/failure.h"
#include "common/host_memory.h"
#include "exit.h"
#include "stream.h"

namespace tamias {
namespace {

constexpr int kMostThreads = 1024;

}  // namespace

int available_threads() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1u, std::thread::hardware_concurrency());
}

Device::~Device() {
  allocations_.for_each([](uint64_t address, const Allocations::Range& range) {
    free_aligned(reinterpret_cast<void*>(address), range.bytes);
  });
}

void* Device::allocate_memory(uint64_t bytes, const char* purpose) const {
  const uint64_t held = bytes_held();
  void* memory = allocate_aligned(bytes, held);
  if (memory) return memory;
  fail(TAMIAS_OUT_OF_MEMORY, "%llu bytes %s, %llu free beside %llu in use", (unsigned long long)bytes, purpose,
       (unsigned long long)allocatable_bytes(held), (unsigned long long)held);
}

uint64_t Device::allocate(uint64_t bytes, Place place) {
  void* memory = allocate_memory(bytes, "asked for");
  const auto address = reinterpret_cast<uint64_t>(memory);
  try {
    allocations_.add(address, bytes, place);
  } catch (...) {
    free_aligned(memory, bytes);
    throw;
  }
  return address;
}

void Device::release(uint64_t address) {
  const uint64_t bytes = allocations_.remove(address).bytes;
  for (const auto& stream : owned_.streams()) stream->wait();
  free_aligned(reinterpret_cast<void*>(address), bytes);
}

uint64_t Device::bytes_held() const {
  return allocations_.bytes(Place::device) + allocations_.bytes(Place::host) + workspace_bytes();
}

uint64_t Device::workspace_bytes() const {
  uint64_t bytes = 0;
  for (const auto& stream : owned_.streams()) bytes += stream->workspace_bytes();
  return bytes;
}

void Device::close() {
  for (const auto& stream : owned_.close()) stream->close();
}

void Device::abandon() {
  for (const auto& stream : owned_.streams()) stream->abandon();
}

}  // namespace tamias

using namespace tamias;

extern "C" int32_t tamias_device_count(int32_t* count) {
  return guarded("device_count", [&] {
    if (!count) refuse("count is NULL");
    *count = 1;
  });
}

extern "C" int32_t tamias_device_open(int32_t index, int32_t threads, uint64_t* device) {
  return guarded("device_open", [&] {
    if (!device) refuse("device is NULL");
    if (index != 0) refuse("index is %d, but the CPU library has one device, 0", index);
    if (threads < 0 || threads > kMostThreads) {
      refuse("threads is %d, expected 0 (all) to %d", threads, kMostThreads);
    }
    const Isa isa = choose_isa();
    const uint64_t handle = add_handle(std::make_shared<Device>(threads ? threads : available_threads(), isa));
    remember_open_device(handle);
    *device = handle;
  });
}

extern "C" int32_t tamias_device_close(uint64_t device) {
  return guarded("device_close", [&] {
    const auto closed = remove_handle<Device>(device);
    forget_open_device(device);
    closed->close();
  });
}

extern "C" int32_t tamias_device_info_get(uint64_t device, tamias_device_info* info) {
  return guarded("device_info_get", [&] {
    if (!info) refuse("info is NULL");
    if (info->size != sizeof(tamias_device_info)) {
      refuse("info.size is %u, expected %zu", info->size, sizeof(tamias_device_info));
    }
    const auto asked = find_handle<Device>(device);
    const HostMemory memory = host_memory();
    *info = tamias_device_info{};
    info->size = sizeof(tamias_device_info);
    info->threads = asked->threads();
    info->query_group = TAMIAS_QUERY_GROUP;
    info->token_group = TAMIAS_TOKEN_GROUP;
    info->bytes_total = memory.total;
    info->bytes_free = allocatable_bytes(asked->bytes_held());
    info->bytes_allocated = asked->allocations().bytes(Place::device) + asked->workspace_bytes();
    info->host_bytes_allocated = asked->allocations().bytes(Place::host);
    std::snprintf(info->name, sizeof info->name, "CPU, %s", isa_name(asked->isa()));
  });
}
