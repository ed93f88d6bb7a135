// Errors of the CUDA runtime as Failures.
#pragma once

#include <cuda_runtime_api.h>

#include "common/failure.h"

namespace tamias {

// `what` failed: a sentence's beginning, such as "copying to the device".
inline void check_cuda(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  cudaGetLastError();  // an error that can be cleared must not be found by the next call
  fail(TAMIAS_DEVICE, "%s: %s (%s)", what, cudaGetErrorString(error), cudaGetErrorName(error));
}

}  // namespace tamias
