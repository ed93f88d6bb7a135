// The end of a selection, found by histograms of the scores' keys, each of a narrower range, by a block of threads.
//
// A source is a row, or what matters of it. for_each_key(always, visit) calls visit(key) for this thread's share of the
// columns whose always flag is `always`, for_each_member visit(column, key). kMany: it may have more than 2^20 columns.
#pragma once

#include <cstdint>

#include "block_sums.cuh"
#include "ordered_score.cuh"

namespace tamias {

constexpr uint32_t kBins = 2048;
constexpr uint32_t kFew = 256;  // columns that are ranked by comparing each with each

// Takes the columns of better scores, and those of this score up to `column`.
struct Cut {
  uint32_t key;
  uint32_t column;

  __device__ bool takes(uint32_t other_column, uint32_t other_key) const {
    return other_key > key || (other_key == key && other_column <= column);
  }
};

__device__ constexpr Cut cut_before_all() { return {0xffffffffu, 0}; }  // no score has this key
__device__ constexpr Cut cut_after_all() { return {0, kLastColumn}; }

// Keys from `lowest` to `highest`, both in it.
struct Range {
  uint32_t lowest, highest;

  __device__ bool has(uint32_t key) const { return key >= lowest && key <= highest; }
};

__device__ constexpr Range every_key() { return {0, 0xffffffffu}; }

// The bins of a range, the highest keys first. Keys beyond an end fall into the bin there.
struct Bins {
  int shift;
  uint32_t first;  // the first bin's keys >> shift
  uint32_t last;   // the last bin

  __device__ explicit Bins(Range range) {
    shift = max(0, 21 - __clz(range.highest - range.lowest));
    if ((range.highest >> shift) - (range.lowest >> shift) >= kBins) ++shift;
    first = range.highest >> shift;
    last = first - (range.lowest >> shift);
  }

  __device__ uint32_t of(uint32_t key) const {
    const uint32_t place = key >> shift;
    return place >= first ? 0 : min(first - place, last);
  }

  // The part of `range` that falls into a bin.
  __device__ Range narrowed(Range range, uint32_t bin) const {
    const uint32_t lowest = (first - bin) << shift;
    if (bin != last) range.lowest = max(range.lowest, lowest);
    if (bin != 0) range.highest = min(range.highest, lowest | ((1u << shift) - 1));
    return range;
  }
};

struct Bin {
  uint32_t index;
  uint32_t before;  // how many are in the bins before it
  uint32_t count;
};

struct CutShared {
  uint32_t counts[kBins];  // all 0 between passes
  BlockSums sums;
  Bin bin;
  Cut cut;
  uint32_t few_count;  // 0 between passes
  uint64_t few[kFew];
};

template <int kThreads>
__device__ void clear_counts(CutShared& shared) {
  for (uint32_t i = threadIdx.x; i < kBins; i += kThreads) shared.counts[i] = 0;
  if (threadIdx.x == 0) shared.few_count = 0;
  __syncthreads();
}

// The range of the members' keys; their number must not be 0.
template <int kThreads, class Source>
__device__ Range range_of(const Source& source, bool always, BlockSums& sums) {
  Range range = {0xffffffffu, 0};
  source.for_each_key(always, [&](uint32_t key) {
    range.lowest = min(range.lowest, key);
    range.highest = max(range.highest, key);
  });
  const int lane = threadIdx.x % kWarp;
  range = {__reduce_min_sync(kAllLanes, range.lowest), __reduce_max_sync(kAllLanes, range.highest)};
  if (lane == 0) sums.ranges[threadIdx.x / kWarp] = {range.lowest, range.highest};
  __syncthreads();
  const uint2 other = sums.ranges[lane % (kThreads / kWarp)];
  return {__reduce_min_sync(kAllLanes, other.x), __reduce_max_sync(kAllLanes, other.y)};
}

// Beyond 64 octaves below the best score there is one bin.
__device__ __forceinline__ Range best_of(Range range) {
  constexpr uint32_t kSpan = 64u << 23;
  if (range.highest - range.lowest > kSpan) range.lowest = range.highest - kSpan;
  return range;
}

// The bin that holds number `need` >= 1 of what was counted. Clears the counts.
template <int kThreads>
__device__ __forceinline__ Bin find_bin(uint32_t need, CutShared& shared) {
  __syncthreads();
  constexpr int kOwn = kBins / kThreads;
  uint32_t own[kOwn];
  uint32_t sum = 0;
#pragma unroll
  for (int i = 0; i < kOwn; ++i) {
    own[i] = shared.counts[threadIdx.x * kOwn + i];
    sum += own[i];
  }
#pragma unroll
  for (int i = 0; i < kOwn; ++i) shared.counts[threadIdx.x * kOwn + i] = 0;
  uint32_t total;
  uint32_t before = sum_before<kThreads>(sum, shared.sums, total);
  if (before < need && need <= before + sum) {
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
      if (before < need && need <= before + own[i]) shared.bin = {threadIdx.x * kOwn + i, before, own[i]};
      before += own[i];
    }
  }
  __syncthreads();
  return shared.bin;
}

// Puts the members within `range`, at most kFew, into `few` and gives this thread's one and its rank; threads from
// `count` on get no rank. The caller ends with a barrier.
template <int kThreads, class Source>
__device__ __forceinline__ uint64_t rank_few(const Source& source, bool always, Range range, uint32_t count,
                                             CutShared& shared, uint32_t& rank) {
  source.for_each_member(always, [&](uint32_t column, uint32_t key) {
    if (range.has(key)) shared.few[atomicAdd(&shared.few_count, 1u)] = place_of(key, column);
  });
  __syncthreads();
  if (threadIdx.x == 0) shared.few_count = 0;
  rank = ~0u;
  if (threadIdx.x >= count) return 0;
  const uint64_t own = shared.few[threadIdx.x];
  rank = 0;
  for (uint32_t i = 0; i < count; ++i) rank += shared.few[i] > own;
  return own;
}

// Among more than kFew columns of one score, those of lower columns go first.
template <int kThreads, class Source>
__device__ Cut find_column(const Source& source, bool always, uint32_t key, uint32_t need, CutShared& shared) {
  uint32_t prefix = 0;
  uint32_t prefix_mask = 0;
  for (int end = kColumnBits; end > 0;) {
    const int bits = end < 11 ? end : 11;
    const int shift = end - bits;
    const uint32_t digits = (1u << bits) - 1;
    source.for_each_member(always, [&](uint32_t column, uint32_t other) {
      if (other == key && (column & prefix_mask) == prefix) atomicAdd(&shared.counts[column >> shift & digits], 1u);
    });
    const Bin bin = find_bin<kThreads>(need, shared);
    need -= bin.before;
    prefix |= bin.index << shift;
    prefix_mask |= digits << shift;
    end = shift;
    if (bin.count == need) return {key, prefix | ((1u << shift) - 1)};
  }
  return {key, prefix};
}

// The cut that takes `need` of the members whose always flag is `always`; there must be as many, and need >= 1. It must
// be in `range`, and is expected in `likely`.
template <int kThreads, class Source>
__device__ Cut find_cut(const Source& source, bool always, uint32_t need, Range range, Range likely,
                        CutShared& shared) {
  for (;;) {
    const Bins bins(likely);
    source.for_each_key(always, [&](uint32_t key) {
      if (range.has(key)) atomicAdd(&shared.counts[bins.of(key)], 1u);
    });
    const Bin bin = find_bin<kThreads>(need, shared);
    need -= bin.before;
    range = bins.narrowed(range, bin.index);
    if (bin.count == need) return {range.lowest, kLastColumn};
    if (bin.count <= kFew) {
      uint32_t rank;
      const uint64_t own = rank_few<kThreads>(source, always, range, bin.count, shared, rank);
      if (rank == need - 1) shared.cut = {key_at(own), column_at(own)};
      __syncthreads();
      return shared.cut;
    }
    if (range.lowest == range.highest) return find_column<kThreads>(source, always, range.lowest, need, shared);
    likely = range;
  }
}

}  // namespace tamias
