#include <cstring>
#include <memory>
#include <shared_mutex>

#include "../common/failure.h"
#include "../common/registry.h"
#include "device.h"
#include "stream.h"

using namespace tamias;

namespace {

void need_range(const Allocations& allocations, uint64_t address, uint64_t bytes) {
  if (!allocations.contains(address, bytes)) {
    refuse("address 0x%llx with %llu bytes is not inside one live allocation of the stream's device",
           (unsigned long long)address, (unsigned long long)bytes);
  }
}

}  // namespace

extern "C" int32_t tamias_memory_alloc(uint64_t device, uint64_t bytes, uint64_t* address) {
  return guarded("memory_alloc", [&] {
    if (!address) refuse("address is NULL");
    if (bytes == 0) refuse("bytes is 0, expected more");
    *address = find_handle<Device>(device)->allocations().add(bytes);
  });
}

extern "C" int32_t tamias_memory_free(uint64_t device, uint64_t address) {
  return guarded("memory_free", [&] {
    const auto owner = find_handle<Device>(device);
    owner->allocations().remove(address);
    owner->wait_for_streams();
    free_aligned(reinterpret_cast<void*>(address));
  });
}

extern "C" int32_t tamias_memory_write(uint64_t stream, uint64_t address, const void* source, uint64_t bytes) {
  return guarded("memory_write", [&] {
    const auto queue = find_handle<Stream>(stream);
    if (bytes == 0) return;
    if (!source) refuse("source is NULL");
    const Allocations& allocations = queue->device().allocations();
    const std::shared_lock lock(allocations.mutex);
    need_range(allocations, address, bytes);
    void* destination = reinterpret_cast<void*>(address);
    if (queue->run_now_if_idle([&] { std::memcpy(destination, source, bytes); })) return;
    std::shared_ptr<void> copy(allocate_aligned(bytes), free_aligned);
    if (!copy) fail(TAMIAS_OUT_OF_MEMORY, "no room for a copy of %llu bytes", (unsigned long long)bytes);
    std::memcpy(copy.get(), source, bytes);
    queue->submit([=](const Run&) { std::memcpy(destination, copy.get(), bytes); });
  });
}

extern "C" int32_t tamias_memory_read(uint64_t stream, void* destination, uint64_t address, uint64_t bytes) {
  return guarded("memory_read", [&] {
    const auto queue = find_handle<Stream>(stream);
    if (bytes != 0) {
      if (!destination) refuse("destination is NULL");
      const Allocations& allocations = queue->device().allocations();
      const std::shared_lock lock(allocations.mutex);
      need_range(allocations, address, bytes);
      const void* source = reinterpret_cast<const void*>(address);
      queue->submit([=](const Run&) { std::memcpy(destination, source, bytes); });
    }
    queue->check(false);
  });
}
