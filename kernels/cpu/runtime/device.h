// The processor as a device: its memory, its thread bound, its instruction set, and the handles that belong to it.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <set>

#include "../common/isa.h"
#include "../common/registry.h"
#include "allocations.h"

namespace tamias {

class Device {
 public:
  Device(int threads, Isa isa) : threads_(threads), isa_(isa) {}

  int threads() const { return threads_; }
  Isa isa() const { return isa_; }
  Allocations& allocations() { return allocations_; }

  void own(uint64_t handle);  // a stream's or event's, of this device
  void disown(uint64_t handle);
  void wait_for_streams();
  uint64_t workspace_bytes();

  void close();    // runs what is queued, then ends the streams
  void abandon();  // the process is ending

 private:
  std::set<uint64_t> owned();

  const int threads_;
  const Isa isa_;
  Allocations allocations_;
  std::mutex mutex_;
  bool closed_ = false;
  std::set<uint64_t> owned_;
};

// The processors this process may run on.
int available_threads();

}  // namespace tamias
