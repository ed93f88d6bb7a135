#include "device.h"

#include <cstdio>
#include <map>
#include <mutex>

#include "check.h"
#include "common/failure.h"
#include "stream.h"

namespace tamias {
namespace {

constexpr int kLeastCapability = 80;
constexpr int kMostThreads = 1024;

// None without a driver or a GPU, and why.
int count_devices(cudaError_t* reason = nullptr) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) cudaGetLastError();
  if (reason) *reason = error;
  return error == cudaSuccess ? count : 0;
}

// Asked for once: that takes the driver milliseconds.
const cudaDeviceProp& properties_of(int index) {
  static std::mutex mutex;
  static auto& known = *new std::map<int, cudaDeviceProp>;
  const std::lock_guard lock(mutex);
  const auto found = known.find(index);
  if (found != known.end()) return found->second;
  cudaDeviceProp properties;
  check_cuda(cudaGetDeviceProperties(&properties, index), "asking what the device can do");
  return known.emplace(index, properties).first->second;
}

}  // namespace

Device::Device(int index) : index_(index), properties_(properties_of(index)) {
  if (capability() < kLeastCapability) {
    fail(TAMIAS_UNSUPPORTED, "%s has compute capability %d.%d, at least %d.%d is needed", name(), properties_.major,
         properties_.minor, kLeastCapability / 10, kLeastCapability % 10);
  }
  enter();
}

Device::~Device() {
  if (cudaSetDevice(index_) != cudaSuccess) return;
  for (const auto& [address, bytes] : allocations_.by_address()) cudaFree(reinterpret_cast<void*>(address));
}

void Device::enter() const { check_cuda(cudaSetDevice(index_), "making the device current"); }

uint64_t Device::allocate(uint64_t bytes) {
  enter();
  void* memory = allocate_device_memory(bytes, "asked for");
  const auto address = reinterpret_cast<uint64_t>(memory);
  try {
    allocations_.add(address, bytes);
  } catch (...) {
    cudaFree(memory);
    throw;
  }
  return address;
}

void Device::release(uint64_t address) {
  enter();
  allocations_.remove(address);
  for (const auto& stream : owned_.streams()) stream->wait();
  check_cuda(cudaFree(reinterpret_cast<void*>(address)), "freeing memory");
}

uint64_t Device::workspace_bytes() const {
  uint64_t bytes = 0;
  for (const auto& stream : owned_.streams()) bytes += stream->workspace_bytes();
  return bytes;
}

void Device::close() {
  for (const auto& stream : owned_.close()) stream->close();
}

void* allocate_device_memory(uint64_t bytes, const char* purpose) {
  void* memory = nullptr;
  const cudaError_t error = cudaMalloc(&memory, bytes);
  if (error == cudaSuccess) return memory;
  cudaGetLastError();
  size_t available = 0;
  size_t total = 0;
  const bool asked = cudaMemGetInfo(&available, &total) == cudaSuccess;
  if (error == cudaErrorMemoryAllocation || (asked && bytes > total)) {
    fail(TAMIAS_OUT_OF_MEMORY, "%llu bytes %s, %zu free", (unsigned long long)bytes, purpose, available);
  }
  check_cuda(error, "allocating memory");
  return nullptr;
}

}  // namespace tamias

using namespace tamias;

extern "C" int32_t tamias_device_count(int32_t* count) {
  return guarded("device_count", [&] {
    if (!count) refuse("count is NULL");
    *count = count_devices();
  });
}

extern "C" int32_t tamias_device_open(int32_t index, int32_t threads, uint64_t* device) {
  return guarded("device_open", [&] {
    if (!device) refuse("device is NULL");
    if (threads < 0 || threads > kMostThreads) {
      refuse("threads is %d, expected 0 (all) to %d", threads, kMostThreads);
    }
    cudaError_t reason;
    const int count = count_devices(&reason);
    if (count == 0 && reason != cudaSuccess) {
      fail(TAMIAS_UNSUPPORTED, "no CUDA device can be used: %s", cudaGetErrorString(reason));
    }
    if (index < 0 || index >= count) refuse("index is %d, but there are %d CUDA devices", index, count);
    *device = add_handle(std::make_shared<Device>(index));
  });
}

extern "C" int32_t tamias_device_close(uint64_t device) {
  return guarded("device_close", [&] { remove_handle<Device>(device)->close(); });
}

extern "C" int32_t tamias_device_info_get(uint64_t device, tamias_device_info* info) {
  return guarded("device_info_get", [&] {
    if (!info) refuse("info is NULL");
    if (info->size != sizeof(tamias_device_info)) {
      refuse("info.size is %u, expected %zu", info->size, sizeof(tamias_device_info));
    }
    const auto asked = find_handle<Device>(device);
    asked->enter();
    size_t available = 0;
    size_t total = 0;
    check_cuda(cudaMemGetInfo(&available, &total), "asking for the free memory");
    *info = tamias_device_info{};
    info->size = sizeof(tamias_device_info);
    info->is_gpu = 1;
    info->threads = asked->multiprocessors();
    info->query_group = TAMIAS_QUERY_GROUP;
    info->token_group = TAMIAS_TOKEN_GROUP;
    info->bytes_total = total;
    info->bytes_free = available;
    info->bytes_allocated = asked->allocations().bytes() + asked->workspace_bytes();
    std::snprintf(info->name, sizeof info->name, "%.127s", asked->name());
  });
}
