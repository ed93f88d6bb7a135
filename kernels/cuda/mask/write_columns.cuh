// From bits to an ascending list: bit c % 32 of words[c / 32] says whether column c is chosen.
#pragma once

#include <cstdint>

#include "block_sums.cuh"

namespace tamias {

// Each warp writes the columns of neighbouring words, a lane for each bit. Returns how many there are.
template <int kThreads, class Index>
__device__ uint32_t write_columns(const uint32_t* words, int word_count, uint32_t first_column, Index* list,
                                  BlockSums& sums) {
  constexpr int kWarps = kThreads / kWarp;
  const int lane = threadIdx.x % kWarp;
  const int own = (word_count + kWarps - 1) / kWarps;
  const int begin = min(static_cast<int>(threadIdx.x) / kWarp * own, word_count);
  const int end = min(begin + own, word_count);
  uint32_t count = 0;
  for (int i = begin + lane; i < end; i += kWarp) count += __popc(words[i]);
  uint32_t total;
  const uint32_t before = sum_before<kThreads>(count, sums, total);
  Index* to = list + __shfl_sync(kAllLanes, before, 0);
  for (int i = begin; i < end; ++i) {
    const uint32_t word = words[i];
    const uint32_t lower = word & ((1u << lane) - 1);
    if (word >> lane & 1) to[__popc(lower)] = static_cast<Index>(first_column + i * 32 + lane);
    to += __popc(word);
  }
  return total;
}

// The same for few columns among many: each thread unpacks its own words into `staged`, in shared memory, which has
// room for all of them; then the list is written in order.
template <int kThreads, class Index>
__device__ void write_staged_columns(const uint32_t* words, int word_count, Index* staged, Index* list,
                                     BlockSums& sums) {
  const int own = (word_count + kThreads - 1) / kThreads;
  const int begin = min(static_cast<int>(threadIdx.x) * own, word_count);
  const int end = min(begin + own, word_count);
  uint32_t count = 0;
  for (int i = begin; i < end; ++i) count += __popc(words[i]);
  uint32_t total;
  uint32_t at = sum_before<kThreads>(count, sums, total);
  for (int i = begin; i < end; ++i) {
    for (uint32_t word = words[i]; word; word &= word - 1) {
      staged[at++] = static_cast<Index>(i * 32 + __ffs(word) - 1);
    }
  }
  __syncthreads();
  for (uint32_t i = threadIdx.x; i < total; i += kThreads) list[i] = staged[i];
}

}  // namespace tamias
