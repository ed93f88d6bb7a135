// What a kernel's launcher may use. It allocates nothing and waits for nothing, so that all of it can be captured in a
// CUDA graph.
#pragma once

#include <cuda_runtime_api.h>

namespace tamias {

struct Launch {
  cudaStream_t stream;
  int multiprocessors;
  char* workspace;  // as many bytes as the launcher's *_workspace function asked for, 256-byte aligned
};

}  // namespace tamias
