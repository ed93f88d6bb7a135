#include <shared_mutex>

#include "../failure.h"
#include "../registry.h"
#include "runtime/device.h"
#include "runtime/stream.h"

using namespace tamias;

namespace {

void need_range(const Allocations& allocations, uint64_t address, uint64_t bytes) {
  if (!allocations.find(address, bytes)) {
    refuse("address 0x%llx with %llu bytes is not inside one live allocation of the stream's device",
           (unsigned long long)address, (unsigned long long)bytes);
  }
}

}  // namespace

extern "C" int32_t tamias_memory_alloc(uint64_t device, uint64_t bytes, int32_t place, uint64_t* address) {
  return guarded("memory_alloc", [&] {
    if (!address) refuse("address is NULL");
    if (bytes == 0) refuse("bytes is 0, expected more");
    if (place != TAMIAS_DEVICE_MEMORY && place != TAMIAS_HOST_MEMORY) {
      refuse("place is %d, expected %d (device) or %d (host)", place, TAMIAS_DEVICE_MEMORY, TAMIAS_HOST_MEMORY);
    }
    *address = find_handle<Device>(device)->allocate(bytes, static_cast<Place>(place));
  });
}

extern "C" int32_t tamias_memory_free(uint64_t device, uint64_t address) {
  return guarded("memory_free", [&] { find_handle<Device>(device)->release(address); });
}

extern "C" int32_t tamias_memory_write(uint64_t stream, uint64_t address, const void* source, uint64_t bytes) {
  return guarded("memory_write", [&] {
    const auto queue = find_handle<Stream>(stream);
    if (bytes == 0) return;
    if (!source) refuse("source is NULL");
    const Allocations& allocations = queue->device().allocations();
    const std::shared_lock lock(allocations.mutex);
    need_range(allocations, address, bytes);
    queue->write(reinterpret_cast<void*>(address), source, bytes);
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
      queue->read(destination, reinterpret_cast<const void*>(address), bytes);
    }
    queue->check(false);
  });
}
