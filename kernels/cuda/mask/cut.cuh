// The end of a selection, found by halving: shared memory's atomic additions, which a histogram takes, are slower than
// counting again and again.
//
// A source is a row, or what matters of it: for_each(visit) calls visit(column, key) for this thread's share.
#pragma once

#include <cstdint>

#include "ordered_score.cuh"
#include "team.cuh"

namespace tamias {

constexpr uint32_t kFew = 64;  // columns that are ranked by comparing each with each

struct CutShared {
  TeamShared team;
  uint64_t few[kFew];
  uint32_t few_count;  // 0 between uses
  Cut cut;
};

// Keys from `lowest` to `highest`, both in it.
struct Range {
  uint32_t lowest, highest;

  __device__ __forceinline__ bool has(uint32_t key) const { return key >= lowest && key <= highest; }
  // The lowest key of the upper half.
  __device__ __forceinline__ uint32_t middle() const { return lowest + (highest - lowest + 1) / 2; }
};

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

template <int kThreads, class Source>
__device__ __forceinline__ uint32_t count_from(const Source& source, uint32_t lowest, Team<kThreads>& team) {
  uint32_t count = 0;
  source.for_each([&](uint32_t, uint32_t key) { count += key >= lowest; });
  return team.sum(count);
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
    source.for_each([&](uint32_t column, uint32_t other) { count += other == key && column <= middle; });
    if (team.sum(count) >= need) {
      highest = middle;
    } else {
      lowest = middle + 1;
    }
  }
  return lowest;
}

// The cut that takes `need` of the source's columns. It is within `range`, from whose lowest key on there are `from`
// columns, and above whose highest key there are `above`; above < need <= from.
template <int kThreads, class Source>
__device__ Cut find_cut(const Source& source, uint32_t need, Range range, uint32_t from, uint32_t above,
                        uint32_t columns, CutShared& shared, Team<kThreads>& team) {
  while (range.lowest < range.highest && from - above > kFew) {
    if (from == need) return {range.lowest, kLastColumn};
    const uint32_t middle = range.middle();
    const uint32_t count = count_from(source, middle, team);
    if (count >= need) {
      range.lowest = middle;
      from = count;
    } else {
      range.highest = middle - 1;
      above = count;
    }
  }
  if (from == need) return {range.lowest, kLastColumn};
  if (from - above > kFew) return {range.lowest, find_column(source, range.lowest, need - above, columns, team)};
  uint32_t rank;
  const uint64_t own = rank_few(source, range, from - above, shared, rank);
  if (rank == need - above - 1) {
    shared.cut = {static_cast<uint32_t>(own >> 32), kLastColumn - static_cast<uint32_t>(own)};
  }
  __syncthreads();
  return shared.cut;
}

}  // namespace tamias
