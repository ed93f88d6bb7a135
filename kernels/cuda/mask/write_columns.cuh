// From bits to an ascending list: bit c % 32 of words[c / 32] says whether column c is chosen.
#pragma once

#include <cstdint>

#include "team.cuh"

namespace tamias {

// Each warp writes the columns of neighbouring words, a lane for each bit. Returns how many there are.
template <class Index, int kThreads>
__device__ uint32_t write_columns(const uint32_t* words, uint32_t word_count, uint32_t first_column, Index* list,
                                  Team<kThreads>& team) {
  const uint32_t lane = team.lane();
  const uint32_t own = (word_count + team.kWarps - 1) / team.kWarps;
  const uint32_t begin = min(team.warp() * own, word_count);
  const uint32_t end = min(begin + own, word_count);
  uint32_t count = 0;
  for (uint32_t i = begin + lane; i < end; i += kWarp) count += __popc(words[i]);
  uint32_t total;
  const uint32_t before = team.sum_before(count, total);
  Index* to = list + __shfl_sync(kAllLanes, before, 0);
#pragma unroll 4
  for (uint32_t i = begin; i < end; ++i) {
    const uint32_t word = words[i];
    if (word >> lane & 1) to[__popc(word & ((1u << lane) - 1))] = static_cast<Index>(first_column + i * 32 + lane);
    to += __popc(word);
  }
  return total;
}

}  // namespace tamias
