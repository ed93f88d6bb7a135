// Rows that fit the registers of one block.
#pragma once

#include "choice.cuh"
#include "select_row.cuh"
#include "write_columns.cuh"

namespace tamias {

// Column i * kThreads + thread is value i of a thread.
template <int kThreads, int kValues>
struct RegisterRow {
  static_assert(kValues <= 32);
  uint32_t keys[kValues];
  uint32_t always;  // bit i: of value i
  uint32_t columns;

  __device__ RegisterRow(const SelectProblem& problem, const float* scores)
      : always(0), columns(static_cast<uint32_t>(problem.columns)) {
    float values[kValues];
#pragma unroll
    for (int i = 0; i < kValues; ++i) {
      const uint32_t column = i * kThreads + threadIdx.x;
      values[i] = column < columns ? __ldcs(scores + column) : 0.0f;
    }
    if (problem.always) {
#pragma unroll
      for (int i = 0; i < kValues; ++i) {
        const uint32_t column = i * kThreads + threadIdx.x;
        if (column < columns && problem.always[column * problem.always_step]) always |= 1u << i;
      }
    }
#pragma unroll
    for (int i = 0; i < kValues; ++i) keys[i] = key_of(values[i]);
  }

  template <class Visit>
  __device__ __forceinline__ void for_each(Visit visit) const {
#pragma unroll
    for (int i = 0; i < kValues; ++i) {
      const uint32_t column = i * kThreads + threadIdx.x;
      if (column < columns) visit(column, keys[i], (always >> i & 1) != 0);
    }
  }
};

template <int kThreads, int kValues, int kBlocks, SelectRule kRule>
__global__ __launch_bounds__(kThreads, kBlocks) void select_short_rows(const SelectProblem problem) {
  __shared__ ChoiceShared<kRule> shared;
  __shared__ uint32_t words[kThreads / kWarp * kValues];
  const int64_t index = blockIdx.x;
  const Row row = row_at(problem, index);
  if (row.dense) {
    if (threadIdx.x == 0) problem.counts[index] = TAMIAS_ALL_COLUMNS;
    return;
  }
  clear<kThreads, kRule>(shared);
  const RegisterRow<kThreads, kValues> source(problem, row.scores);
  uint32_t wanted;
  const Choice choice = choose<kThreads, kRule>(problem, source, shared, wanted);
#pragma unroll
  for (int i = 0; i < kValues; ++i) {
    const uint32_t column = i * kThreads + threadIdx.x;
    const bool taken = column < source.columns && choice.takes(column, source.keys[i], (source.always >> i & 1) != 0);
    const uint32_t word = __ballot_sync(kAllLanes, taken);
    if (threadIdx.x % kWarp == 0) words[column / 32] = word;
  }
  __syncthreads();
  const int word_count = static_cast<int>((source.columns + 31) / 32);
  if (problem.short_indices) {
    write_columns<kThreads>(words, word_count, 0, static_cast<uint16_t*>(problem.indices) + row.list, shared.sums);
  } else {
    write_columns<kThreads>(words, word_count, 0, static_cast<int32_t*>(problem.indices) + row.list, shared.sums);
  }
  if (threadIdx.x == 0) problem.counts[index] = static_cast<int32_t>(wanted);
}

}  // namespace tamias
