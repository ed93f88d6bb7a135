// Sums over the threads of a block, always in the same order.
#pragma once

#include <cstdint>

namespace tamias {

constexpr int kWarp = 32;
constexpr uint32_t kAllLanes = 0xffffffffu;

// Shared memory of what a block adds up; its functions may be called again without a barrier in between.
struct BlockSums {
  double real[kWarp + 1];  // of the warps before each; then the total
  uint32_t whole[kWarp + 1];
  uint2 ranges[kWarp];
};

template <class T>
__device__ __forceinline__ T warp_inclusive_sum(T value) {
  const int lane = threadIdx.x % kWarp;
#pragma unroll
  for (int distance = 1; distance < kWarp; distance *= 2) {
    const T below = __shfl_up_sync(kAllLanes, value, distance);
    if (lane >= distance) value += below;
  }
  return value;
}

// No subtraction: sums of infinities stay infinite.
template <class T>
__device__ __forceinline__ T warp_exclusive_sum(T inclusive) {
  const T below = __shfl_up_sync(kAllLanes, inclusive, 1);
  return threadIdx.x % kWarp == 0 ? T{0} : below;
}

template <int kThreads, class T>
__device__ __forceinline__ T sum_before(T value, T (&sums)[kWarp + 1], T& total) {
  constexpr int kWarps = kThreads / kWarp;
  const int lane = threadIdx.x % kWarp;
  const int warp = threadIdx.x / kWarp;
  const T inclusive = warp_inclusive_sum(value);
  const T before = warp_exclusive_sum(inclusive);
  if (lane == kWarp - 1) sums[warp] = inclusive;
  __syncthreads();
  if (warp == 0) {
    const T through = warp_inclusive_sum(lane < kWarps ? sums[lane] : T{0});
    const T until = warp_exclusive_sum(through);
    if (lane < kWarps) sums[lane] = until;
    if (lane == kWarps - 1) sums[kWarp] = through;
  }
  __syncthreads();
  total = sums[kWarp];
  return sums[warp] + before;
}

// The sum of the values of the threads before this one; `total` gets the sum of all.
template <int kThreads>
__device__ __forceinline__ uint32_t sum_before(uint32_t value, BlockSums& shared, uint32_t& total) {
  return sum_before<kThreads>(value, shared.whole, total);
}

template <int kThreads>
__device__ __forceinline__ double sum_before(double value, BlockSums& shared, double& total) {
  return sum_before<kThreads>(value, shared.real, total);
}

template <int kThreads, class T>
__device__ __forceinline__ T block_sum(T value, BlockSums& shared) {
  T total;
  sum_before<kThreads>(value, shared, total);
  return total;
}

}  // namespace tamias
