// The processor as a device: its memory, its thread bound, its instruction set, and the handles that belong to it.
#pragma once

#include <cstdint>

#include "common/allocations.h"
#include "common/isa.h"
#include "common/owned_handles.h"

namespace tamias {

class Device {
 public:
  Device(int threads, Isa isa) : threads_(threads), isa_(isa) {}
  ~Device();

  int threads() const { return threads_; }
  Isa isa() const { return isa_; }
  OwnedHandles& owned() { return owned_; }

  const Allocations& allocations() const { return allocations_; }
  uint64_t allocate(uint64_t bytes, Place place);  // fails with TAMIAS_OUT_OF_MEMORY
  void release(uint64_t address);                  // waits for the streams first

  // Memory for the device's streams, to be given back by free_aligned; fails with TAMIAS_OUT_OF_MEMORY. `purpose` ends
  // "bytes ...".
  void* allocate_memory(uint64_t bytes, const char* purpose) const;

  uint64_t workspace_bytes() const;

  // Memory and workspaces, wherever they lie.
  uint64_t bytes_held() const;

  void close();    // runs what is queued, then ends the streams
  void abandon();  // the process is ending

 private:
  const int threads_;
  const Isa isa_;
  Allocations allocations_;
  OwnedHandles owned_;
};

// The processors this process may run on.
int available_threads();

}  // namespace tamias
