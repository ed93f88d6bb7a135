// How many of the best columns reach a share of the scores' sum.
#pragma once

#include <cmath>
#include <cstdint>

#include "cut.cuh"

namespace tamias {

// Scores of one exponent are whole numbers of one unit, and a bin never has more than one exponent: its sum is exact,
// whatever the order of the additions.
struct UnitSum {
  uint32_t low, high;

  // Two 32-bit additions, of 12 bits each, are much faster than one of 64 bits. They hold the sum of 2^20 scores.
  template <bool kMany>
  __device__ void add(uint32_t units) {
    if constexpr (kMany) {
      atomicAdd(reinterpret_cast<unsigned long long*>(this), static_cast<unsigned long long>(units));
    } else {
      atomicAdd(&low, units & 0xfff);
      atomicAdd(&high, units >> 12);
    }
  }

  template <bool kMany>
  __device__ uint64_t total() const {
    return low + (static_cast<uint64_t>(high) << (kMany ? 32 : 12));
  }
};

struct MassShared {
  alignas(8) UnitSum sums[kBins];  // all 0 between passes
  float scores[kFew];
  double reached;  // before the bin
  uint32_t first;
};

template <int kThreads>
__device__ void clear_sums(MassShared& shared) {
  for (uint32_t i = threadIdx.x; i < kBins; i += kThreads) shared.sums[i] = {0, 0};
  __syncthreads();
}

// Of a positive score's key.
__device__ __forceinline__ uint32_t units_of(uint32_t key) {
  const uint32_t fraction = key & 0x7fffffu;
  return key & 0x7f800000u ? fraction | 0x800000u : fraction;
}

__device__ __forceinline__ double units_sum(uint64_t units, uint32_t key) {
  const int exponent = static_cast<int>(key >> 23 & 0xff);
  if (units == 0) return 0;
  if (exponent == 255) return HUGE_VAL;
  return static_cast<double>(units) * exp2(static_cast<double>((exponent ? exponent : 1) - 150));
}

// How many of the columns within `range` it takes.
template <int kThreads, class Source>
__device__ uint32_t count_few(const Source& source, double reached, double goal, Range range, uint32_t count,
                              CutShared& shared, MassShared& mass) {
  uint32_t rank;
  const uint64_t own = rank_few<kThreads>(source, false, range, count, shared, rank);
  if (threadIdx.x < count) mass.scores[rank] = score_of(key_at(own));
  if (threadIdx.x == 0) mass.first = count - 1;
  __syncthreads();
  const double score = threadIdx.x < count ? mass.scores[threadIdx.x] : 0;
  double total;
  const double before = sum_before<kThreads>(score, shared.sums, total);
  if (threadIdx.x < count && reached + before + score >= goal) atomicMin(&mass.first, threadIdx.x);
  __syncthreads();
  return mass.first + 1;
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
  constexpr bool kMany = Source::kMany;
  uint32_t taken = 0;
  Range range = range_of<kThreads>(source, false, shared.sums);
  if (range.highest <= kZeroKey) return {0, false};
  range.lowest = max(range.lowest, kZeroKey + 1);
  for (bool narrowed = false;; narrowed = true) {
    const Bins bins(range);
    if (threadIdx.x == 0) mass.first = kBins;
    source.for_each_key(false, [&](uint32_t key) {
      if (!range.has(key)) return;
      const uint32_t bin = bins.of(key);
      atomicAdd(&shared.counts[bin], 1u);
      mass.sums[bin].template add<kMany>(units_of(key));
    });
    __syncthreads();
    uint32_t count = 0;
    double sum = 0;
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
      const uint32_t bin = threadIdx.x * kOwn + i;
      count += shared.counts[bin];
      sum += units_sum(mass.sums[bin].template total<kMany>(), (bins.first - bin) << bins.shift);
    }
    uint32_t all;
    double all_sum;
    uint32_t before = sum_before<kThreads>(count, shared.sums, all);
    double until = reached + sum_before<kThreads>(sum, shared.sums, all_sum);
    Bin own = {kBins, 0, 0};
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
      const uint32_t bin = threadIdx.x * kOwn + i;
      const uint32_t bin_count = shared.counts[bin];
      const double bin_mass = units_sum(mass.sums[bin].template total<kMany>(), (bins.first - bin) << bins.shift);
      shared.counts[bin] = 0;
      mass.sums[bin] = {0, 0};
      if (own.index != kBins) continue;
      if (bin_count && until + bin_mass >= goal) own = {bin, before, bin_count};
      if (own.index != kBins) continue;
      before += bin_count;
      until += bin_mass;
    }
    if (own.index != kBins) atomicMin(&mass.first, own.index);
    __syncthreads();
    if (mass.first == kBins) return {taken + all, narrowed};  // once narrowed, only rounding can lead here
    if (mass.first == own.index) {
      shared.bin = own;
      mass.reached = until;
    }
    __syncthreads();
    const Bin bin = shared.bin;
    taken += bin.before;
    reached = mass.reached;
    range = bins.narrowed(range, bin.index);
    if (range.lowest == range.highest) {
      const double score = score_of(range.lowest);
      const double copies = isinf(score) ? 1 : ceil((goal - reached) / score);
      return {taken + static_cast<uint32_t>(min(max(copies, 1.0), static_cast<double>(bin.count))), true};
    }
    if (bin.count <= kFew) return {taken + count_few<kThreads>(source, reached, goal, range, bin.count, shared, mass), true};
  }
}

}  // namespace tamias
