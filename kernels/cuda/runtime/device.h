// A CUDA device: what it can do, its memory, and the handles that belong to it.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "common/allocations.h"
#include "common/owned_handles.h"

namespace tamias {

class Device {
 public:
  explicit Device(int index);
  ~Device();
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  // Makes it the calling thread's device: every entry of the ABI may come from another thread.
  void enter() const;

  int index() const { return index_; }
  int multiprocessors() const { return properties_.multiProcessorCount; }
  int capability() const { return properties_.major * 10 + properties_.minor; }  // 90 for 9.0
  const char* name() const { return properties_.name; }
  OwnedHandles& owned() { return owned_; }

  const Allocations& allocations() const { return allocations_; }
  uint64_t allocate(uint64_t bytes, Place place);  // fails with TAMIAS_OUT_OF_MEMORY
  void release(uint64_t address);                  // waits for the streams first

  uint64_t workspace_bytes() const;

  void close();  // waits for the streams, then ends them

 private:
  const int index_;
  const cudaDeviceProp& properties_;
  Allocations allocations_;
  OwnedHandles owned_;
};

// Memory of the current device, 256-byte aligned; fails with TAMIAS_OUT_OF_MEMORY. `purpose` ends "bytes ...".
void* allocate_device_memory(uint64_t bytes, const char* purpose);

}  // namespace tamias
