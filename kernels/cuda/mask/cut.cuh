// The end of a selection, found by histograms of the scores' keys, each of a narrower range.
//
// A source is a row, or what matters of it: for_each(visit) calls visit(column, key) for this thread's share.
#pragma once

#include <cstdint>

#include "ordered_score.cuh"
#include "team.cuh"

namespace tamias {

constexpr uint32_t kBins = 2048;
constexpr uint32_t kFew = 64;  // columns that are ranked by comparing each with each

// Conditions below are joined by & and |: && and || would cost a branch each.
struct CutShared {
  uint32_t bins[kBins];  // all 0 between uses
  TeamShared team;
  uint32_t bin, before, count;  // the bin that was looked for
  uint64_t few[kFew];
  uint32_t few_count;  // 0 between uses
  Cut cut;
};

// Keys from `lowest` to `highest`, both in it.
struct Range {
  uint32_t lowest, highest;

  __device__ __forceinline__ bool has(uint32_t key) const { return key - lowest <= highest - lowest; }
  // The lowest key of the upper half.
  __device__ __forceinline__ uint32_t middle() const { return lowest + (highest - lowest + 1) / 2; }
};

template <int kThreads>
__device__ void clear(CutShared& shared) {
  for (uint32_t i = threadIdx.x; i < kBins; i += kThreads) shared.bins[i] = 0;
  if (threadIdx.x == 0) shared.few_count = 0;
  __syncthreads();
}

// Of the keys of scores.
template <int kThreads, class Source>
__device__ Range range_of(const Source& source, Team<kThreads>& team) {
  uint32_t least = ~0u;
  uint32_t most = 0;
  source.for_each([&](uint32_t, uint32_t key) {
    least = min(least, key - 1);  // no column: above all
    most = max(most, key + 1);    // an always column: below all
  });
  const uint2 ends = team.least_and_most(least, most);
  return {ends.x + 1, ends.y - 1};
}

// A range of keys that has the cut: from its lowest key on there are `from` columns, above its highest key `above`, and
// above < need <= from.
struct Bracket {
  Range range;
  uint32_t from, above;

  __device__ __forceinline__ uint32_t count() const { return from - above; }
  __device__ __forceinline__ bool is_one_key() const { return range.lowest == range.highest; }

};

// The bin that holds number `need` of what the bins count, the best first; clears them.
template <int kThreads>
__device__ void find_bin(uint32_t need, CutShared& shared, Team<kThreads>& team) {
  constexpr uint32_t kOwn = kBins / kThreads;
  __syncthreads();
  uint32_t own[kOwn];
  uint32_t sum = 0;
#pragma unroll
  for (uint32_t i = 0; i < kOwn; ++i) {
    own[i] = shared.bins[threadIdx.x * kOwn + i];
    sum += own[i];
  }
#pragma unroll
  for (uint32_t i = 0; i < kOwn; ++i) shared.bins[threadIdx.x * kOwn + i] = 0;
  uint32_t total;
  uint32_t before = team.sum_before(sum, total);
  if (before < need && need <= before + sum) {
#pragma unroll
    for (uint32_t i = 0; i < kOwn; ++i) {
      if (before < need && need <= before + own[i]) {
        shared.bin = threadIdx.x * kOwn + i;
        shared.before = before;
        shared.count = own[i];
      }
      before += own[i];
    }
  }
  __syncthreads();
}

// Until at most `few` columns are left, or one key.
template <int kThreads, class Source>
__device__ void narrow(const Source& source, uint32_t need, uint32_t few, Bracket& bracket, CutShared& shared,
                       Team<kThreads>& team) {
  while (bracket.count() > few && !bracket.is_one_key()) {
    const Range range = bracket.range;
    int shift = max(0, 21 - __clz(range.highest - range.lowest));
    if ((range.highest >> shift) - (range.lowest >> shift) >= kBins) ++shift;
    const uint32_t first = range.highest >> shift;
    uint32_t* bins = shared.bins;
    source.for_each([&](uint32_t, uint32_t key) {
      if (range.has(key)) atomicAdd(bins + (first - (key >> shift)), 1u);
    });
    find_bin(need - bracket.above, shared, team);
    const uint32_t lowest = (first - shared.bin) << shift;
    bracket.range.lowest = max(range.lowest, lowest);
    bracket.range.highest = min(range.highest, lowest | ((1u << shift) - 1));
    bracket.above += shared.before;
    bracket.from = bracket.above + shared.count;
  }
}

// One number for the order of columns and keys, different for every column: the greater goes first.
__device__ __forceinline__ uint64_t place_of(uint32_t column, uint32_t key) {
  return static_cast<uint64_t>(key) << 32 | (kLastColumn - column);
}

// Lists the columns within `range`, `count` of them and at most kFew, and gives this thread's one and its rank. Threads
// from `count` on get none. The caller ends with a barrier.
template <class Source>
__device__ __forceinline__ uint64_t rank_few(const Source& source, Range range, uint32_t count, CutShared& shared,
                                             uint32_t& rank) {
  source.for_each([&](uint32_t column, uint32_t key) {
    if (range.has(key)) shared.few[atomicAdd(&shared.few_count, 1u)] = place_of(column, key);
  });
  __syncthreads();
  if (threadIdx.x == 0) shared.few_count = 0;
  rank = kFew;
  if (threadIdx.x >= count) return 0;
  const uint64_t own = shared.few[threadIdx.x];
  rank = 0;
#pragma unroll 8
  for (uint32_t i = 0; i < count; ++i) rank += shared.few[i] > own;
  return own;
}

// The lowest column up to which there are `need` columns of this key.
template <int kThreads, class Source>
__device__ uint32_t find_column(const Source& source, uint32_t key, uint32_t need, uint32_t columns,
                                Team<kThreads>& team) {
  uint32_t lowest = 0;
  uint32_t highest = columns - 1;
  while (lowest < highest) {
    const uint32_t middle = lowest + (highest - lowest) / 2;
    uint32_t count = 0;
    source.for_each([&](uint32_t column, uint32_t other) { count += (other == key) & (column <= middle); });
    if (team.sum(count) >= need) {
      highest = middle;
    } else {
      lowest = middle + 1;
    }
  }
  return lowest;
}

// The cut that takes `need` of the source's columns.
template <int kThreads, class Source>
__device__ Cut find_cut(const Source& source, uint32_t need, Bracket bracket, uint32_t columns, CutShared& shared,
                        Team<kThreads>& team) {
  narrow(source, need, kFew, bracket, shared, team);
  const uint32_t lowest = bracket.range.lowest;
  if (bracket.from == need) return {lowest, kLastColumn};
  if (bracket.count() > kFew) return {lowest, find_column(source, lowest, need - bracket.above, columns, team)};
  uint32_t rank;
  const uint64_t own = rank_few(source, bracket.range, bracket.count(), shared, rank);
  if (rank == need - bracket.above - 1) {
    shared.cut = {static_cast<uint32_t>(own >> 32), kLastColumn - static_cast<uint32_t>(own)};
  }
  __syncthreads();
  return shared.cut;
}

}  // namespace tamias
