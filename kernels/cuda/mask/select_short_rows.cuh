// Rows that fit the registers of one block.
#pragma once

#include "rules.cuh"
#include "select_row.cuh"
#include "write_columns.cuh"

namespace tamias {

// Column i * kThreads + thread is value i of a thread.
template <int kThreads, int kValues>
struct RegisterRow {
  uint32_t keys[kValues];
  uint32_t always = 0;  // how many of this thread's columns

  template <SelectRule kRule>
  __device__ RegisterRow(const Row& row, RowSums<kRule>& sums) {
    const float* own = row.scores + threadIdx.x;
    const int count = (static_cast<int>(row.columns) - static_cast<int>(threadIdx.x) + kThreads - 1) / kThreads;
    float values[kValues];
#pragma unroll
    for (int i = 0; i < kValues; ++i) values[i] = i < count ? __ldcs(own + i * kThreads) : 0.0f;
#pragma unroll
    for (int i = 0; i < kValues; ++i) keys[i] = i < count ? key_of(values[i]) : kNoKey;
    if (!row.always) {
#pragma unroll
      for (int i = 0; i < kValues; ++i) {
        if (i < count) sums.add(values[i], false);
      }
      return;
    }
#pragma unroll
    for (int i = 0; i < kValues; ++i) {
      if (i >= count) continue;
      const bool is_always = row.is_always(column(i));
      if (is_always) keys[i] = kAlwaysKey;
      always += is_always;
      sums.add(values[i], is_always);
    }
  }

  // Nothing but the always columns, by their scores.
  __device__ void keep_always(const Row& row) {
#pragma unroll
    for (int i = 0; i < kValues; ++i) keys[i] = keys[i] == kAlwaysKey ? key_of(row.scores[column(i)]) : kNoKey;
  }

  __device__ static uint32_t column(int i) { return i * kThreads + threadIdx.x; }

  template <class Visit>
  __device__ __forceinline__ void for_each(Visit visit) const {
#pragma unroll
    for (int i = 0; i < kValues; ++i) visit(column(i), keys[i]);
  }
};

template <int kThreads, int kValues, int kBlocks, SelectRule kRule>
__global__ __launch_bounds__(kThreads, kBlocks) void select_short_rows(const SelectProblem problem) {
  __shared__ RuleShared<kRule> shared;
  __shared__ uint32_t words[kThreads / kWarp * kValues];
  const uint32_t index = blockIdx.x;
  const Row row(problem, index);
  if (row.dense) {
    if (threadIdx.x == 0) problem.counts[index] = TAMIAS_ALL_COLUMNS;
    return;
  }
  Team<kThreads> team(shared.team);
  clear<kThreads>(shared);
  RowSums<kRule> sums(row.columns ? row.scores[0] : 0.0f);
  RegisterRow<kThreads, kValues> source(row, sums);
  const uint32_t always = row.always ? team.sum(source.always) : 0;
  const Others others = count_others(problem, source, -INFINITY, sums, shared, team);
  const uint32_t wanted = count_wanted<kRule>(problem, always, others.count);
  Cut cut;
  if (wanted < always) {
    source.keep_always(row);
    cut = cut_row(problem, source, 0, wanted, always, shared, team);
  } else {
    cut = cut_row(problem, source, always, wanted, row.columns, shared, team);
  }
  uint32_t* own_words = words + team.warp();
#pragma unroll
  for (int i = 0; i < kValues; ++i) {
    const bool taken = (source.keys[i] != kNoKey) & cut.takes(source.column(i), source.keys[i]);
    const uint32_t word = __ballot_sync(kAllLanes, taken);
    own_words[i * (kThreads / kWarp)] = word;  // all lanes the same
  }
  __syncthreads();
  const uint32_t word_count = (row.columns + 31) / 32;
  if (problem.short_indices) {
    write_columns(words, word_count, 0, static_cast<uint16_t*>(problem.indices) + row.list, team);
  } else {
    write_columns(words, word_count, 0, static_cast<int32_t*>(problem.indices) + row.list, team);
  }
  if (threadIdx.x == 0) problem.counts[index] = static_cast<int32_t>(wanted);
}

}  // namespace tamias
