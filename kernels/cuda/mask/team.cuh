// What the threads of a block find out together.
#pragma once

#include <cstdint>

namespace tamias {

constexpr int kWarp = 32;
constexpr uint32_t kAllLanes = 0xffffffffu;

struct TeamShared {
  uint2 whole[2][kWarp];
  double real[2][kWarp];
};

// Every call has one barrier, and is made by all threads; two calls never use the same memory in turn.
template <int kThreads>
class Team {
 public:
  static constexpr int kWarps = kThreads / kWarp;

  __device__ explicit Team(TeamShared& shared) : shared_(shared) {}

  __device__ __forceinline__ uint32_t sum(uint32_t value) {
    const uint2 other = exchange(make_uint2(__reduce_add_sync(kAllLanes, value), 0));
    return __reduce_add_sync(kAllLanes, other.x);
  }

  __device__ __forceinline__ uint2 least_and_most(uint32_t least, uint32_t most) {
    const uint2 other =
        exchange(make_uint2(~__reduce_min_sync(kAllLanes, least), __reduce_max_sync(kAllLanes, most)));
    return make_uint2(~__reduce_max_sync(kAllLanes, other.x), __reduce_max_sync(kAllLanes, other.y));
  }

  // Always in the same order.
  __device__ __forceinline__ double sum(double value) {
    double(&sums)[kWarp] = shared_.real[turn_ ^= 1];
    value = warp_sum(value);
    if (lane() == 0) sums[warp()] = value;
    __syncthreads();
    return warp_sum(lane() < kWarps ? sums[lane()] : 0.0);
  }

  // The sum of the values of the threads before this one.
  __device__ __forceinline__ uint32_t sum_before(uint32_t value, uint32_t& total) {
    const uint32_t until = warp_inclusive_sum(value);
    const uint32_t of_warp = __shfl_sync(kAllLanes, until, kWarp - 1);
    const uint32_t until_warp = warp_inclusive_sum(exchange(make_uint2(of_warp, 0)).x);
    total = __shfl_sync(kAllLanes, until_warp, kWarp - 1);
    const uint32_t before_warp = __shfl_sync(kAllLanes, until_warp, (warp() + kWarp - 1) % kWarp);
    return (warp() ? before_warp : 0) + until - value;
  }

  __device__ static int lane() { return threadIdx.x % kWarp; }
  __device__ static int warp() { return threadIdx.x / kWarp; }

 private:
  // Lane i gets what lane 0 of warp i gave.
  __device__ __forceinline__ uint2 exchange(uint2 value) {
    uint2(&values)[kWarp] = shared_.whole[turn_ ^= 1];
    if (lane() == 0) values[warp()] = value;
    __syncthreads();
    return lane() < kWarps ? values[lane()] : make_uint2(0, 0);
  }

  __device__ static uint32_t warp_inclusive_sum(uint32_t value) {
#pragma unroll
    for (int distance = 1; distance < kWarp; distance *= 2) {
      const uint32_t below = __shfl_up_sync(kAllLanes, value, distance);
      if (lane() >= distance) value += below;
    }
    return value;
  }

  __device__ static double warp_sum(double value) {
#pragma unroll
    for (int distance = kWarp / 2; distance > 0; distance /= 2) value += __shfl_xor_sync(kAllLanes, value, distance);
    return value;
  }

  TeamShared& shared_;
  int turn_ = 0;
};

}  // namespace tamias
