// Sums over a block's threads, whose number is known when the kernel runs.
#pragma once

#include <cstdint>

namespace tamias {

__device__ __forceinline__ float warp_sum(float value) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(0xffffffffu, value, distance);
  return value;
}

// The same for every thread. `sums` [warps] is not used for another sum before a barrier.
__device__ __forceinline__ float sum_of_block(float value, float* sums) {
  value = warp_sum(value);
  if (blockDim.x == 32) return value;
  if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = value;
  __syncthreads();
  return warp_sum(threadIdx.x % 32 < blockDim.x / 32 ? sums[threadIdx.x % 32] : 0.0f);
}

}  // namespace tamias
