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
    float values[kValues];
#pragma unroll
    for (int i = 0; i < kValues; ++i) values[i] = column(i) < row.columns ? __ldcs(row.scores + column(i)) : 0.0f;
#pragma unroll
    for (int i = 0; i < kValues; ++i) {
      const bool exists = column(i) < row.columns;
      const bool is_always = exists && row.is_always(column(i));
      keys[i] = is_always ? kAlwaysKey : exists ? key_of(values[i]) : kNoKey;
      always += is_always;
      if (exists) sums.add(values[i], is_always);
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
  const int64_t index = blockIdx.x;
  const Row row(problem, index);
  if (row.dense) {
    if (threadIdx.x == 0) problem.counts[index] = TAMIAS_ALL_COLUMNS;
    return;
  }
  Team<kThreads> team(shared.team);
  if (threadIdx.x == 0) shared.few_count = 0;
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
  source.for_each([&](uint32_t column, uint32_t key) {
    const uint32_t word = __ballot_sync(kAllLanes, key != kNoKey && cut.takes(column, key));
    if (threadIdx.x % kWarp == 0) words[column / 32] = word;
  });
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
