// What an op's closure is told when it launches its kernels. It runs on the caller's thread with the stream's device
// current; it allocates nothing and waits for nothing, so that all of it can be captured in a CUDA graph.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <functional>

#include "../common/launch.h"

namespace tamias {

class Device;

struct Run {
  cudaStream_t stream;
  char* workspace;  // the stream's scratch memory, 256-byte aligned; the next op of the stream uses it again
  size_t workspace_bytes;
  int multiprocessors;
  int capability;     // 90 for 9.0
  uint32_t* failure;  // device address: a kernel that finds wrong data writes a Fault there (see fault.h)
  Device* device;

  // For a launcher whose scratch memory starts at `offset` of the workspace.
  Launch launch(size_t offset = 0) const { return {stream, multiprocessors, workspace + offset}; }
};

using Task = std::function<void(const Run&)>;

}  // namespace tamias
