// How many of the best columns reach a share of the scores' sum.
#pragma once

#include <cmath>
#include <cstdint>

#include "cut.cuh"

namespace tamias {

// Scores of one bin have the same exponent, so their sum is a whole number of units: exact, whatever the order of the
// additions.
struct MassShared {
  unsigned long long units[kBins];  // all 0 between passes
  double reached;                   // before the bin
  uint32_t first;
};

template <int kThreads>
__device__ void clear_units(MassShared& shared) {
  for (int i = threadIdx.x; i < kBins; i += kThreads) shared.units[i] = 0;
  __syncthreads();
}

// Of a positive score's key.
__device__ __forceinline__ uint32_t units_of(uint32_t key) {
  const uint32_t fraction = key & 0x7fffffu;
  return key & 0x7f800000u ? fraction | 0x800000u : fraction;
}

__device__ __forceinline__ double units_sum(unsigned long long units, uint32_t key) {
  const int exponent = static_cast<int>(key >> 23 & 0xff);
  if (units == 0) return 0;
  if (exponent == 255) return HUGE_VAL;
  return ldexp(static_cast<double>(units), (exponent ? exponent : 1) - 150);
}

struct MassCount {
  uint32_t columns;
  bool enough;  // the source's positive scores reach the goal
};

// How many of the source's best columns that are not always chosen it takes to bring `reached` to `goal`.
template <int kThreads, class Source>
__device__ MassCount count_to_reach(const Source& source, double reached, double goal, CutShared& shared,
                                    MassShared& mass) {
  constexpr int kOwn = kBins / kThreads;
  uint32_t taken = 0;
  uint32_t prefix = kZeroKey;
  uint32_t prefix_mask = 0x80000000u;
  for (int end = 31; end > 0;) {
    const int bits = end == 21 ? kDigitBits : 10;
    const int shift = end - bits;
    const uint32_t digits = (1u << bits) - 1;
    if (threadIdx.x == 0) mass.first = kBins;
    source.for_each([&](uint32_t, uint32_t key, bool is_always) {
      if (is_always || key <= kZeroKey || (key & prefix_mask) != prefix) return;
      const uint32_t bin = digits - (key >> shift & digits);
      atomicAdd(&shared.counts[bin], 1u);
      atomicAdd(&mass.units[bin], static_cast<unsigned long long>(units_of(key)));
    });
    __syncthreads();
    uint32_t counts[kOwn];
    double sums[kOwn];
    uint32_t count = 0;
    double sum = 0;
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
      const int bin = threadIdx.x * kOwn + i;
      counts[i] = shared.counts[bin];
      sums[i] = units_sum(mass.units[bin], prefix | (digits - bin) << shift);
      shared.counts[bin] = 0;
      mass.units[bin] = 0;
      count += counts[i];
      sum += sums[i];
    }
    uint32_t all;
    double all_sum;
    const uint32_t before = sum_before<kThreads>(count, shared.sums, all);
    const double sum_until = sum_before<kThreads>(sum, shared.sums, all_sum);
    double until = reached + sum_until;
    int own = -1;
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
      if (own < 0 && counts[i] && until + sums[i] >= goal) own = i;
      if (own < 0) until += sums[i];
    }
    if (own >= 0) atomicMin(&mass.first, static_cast<uint32_t>(threadIdx.x * kOwn + own));
    __syncthreads();
    const uint32_t first = mass.first;
    if (first == kBins) return {taken + all, end < 31};  // behind the first digit, only rounding can lead here
    if (first / kOwn == threadIdx.x) {
      uint32_t ahead = before;
#pragma unroll
      for (int i = 0; i < kOwn; ++i) {
        if (i < own) ahead += counts[i];
        if (i == own) shared.bin = {first, ahead, counts[i]};
      }
      mass.reached = until;
    }
    __syncthreads();
    taken += shared.bin.before;
    reached = mass.reached;
    prefix |= (digits - first) << shift;
    prefix_mask |= digits << shift;
    end = shift;
  }
  const double score = score_of(prefix);
  const double copies = isinf(score) ? 1 : ceil((goal - reached) / score);
  const double most = shared.bin.count;
  taken += static_cast<uint32_t>(copies < 1 ? 1 : copies > most ? most : copies);
  __syncthreads();
  return {taken, true};
}

}  // namespace tamias
