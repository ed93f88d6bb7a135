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
  static constexpr bool kMany = false;
  uint32_t keys[kValues];
  uint32_t exists;  // bit i: of value i
  uint32_t always;

  __device__ RegisterRow(const SelectProblem& problem, const float* scores) : exists(0), always(0) {
    const auto columns = static_cast<uint32_t>(problem.columns);
    float values[kValues];
#pragma unroll
    for (int i = 0; i < kValues; ++i) {
      values[i] = column(i) < columns ? __ldcs(scores + column(i)) : 0.0f;
      if (column(i) < columns) exists |= 1u << i;
    }
    if (problem.always) {
#pragma unroll
      for (int i = 0; i < kValues; ++i) {
        if (column(i) < columns && problem.always[column(i) * problem.always_step]) always |= 1u << i;
      }
    }
#pragma unroll
    for (int i = 0; i < kValues; ++i) keys[i] = key_of(values[i]);
  }

  __device__ static uint32_t column(int i) { return i * kThreads + threadIdx.x; }

  template <class Visit>
  __device__ __forceinline__ void for_each(Visit visit) const {
#pragma unroll
    for (int i = 0; i < kValues; ++i) {
      if (exists >> i & 1) visit(column(i), keys[i], (always >> i & 1) != 0);
    }
  }

  template <class Visit>
  __device__ __forceinline__ void for_each_member(bool among_always, Visit visit) const {
    const uint32_t members = exists & (among_always ? always : ~always);
#pragma unroll
    for (int i = 0; i < kValues; ++i) {
      if (members >> i & 1) visit(column(i), keys[i]);
    }
  }

  template <class Visit>
  __device__ __forceinline__ void for_each_key(bool among_always, Visit visit) const {
    for_each_member(among_always, [&](uint32_t, uint32_t key) { visit(key); });
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
    const bool taken = (source.exists >> i & 1) != 0 &&
                       choice.takes(source.column(i), source.keys[i], (source.always >> i & 1) != 0);
    const uint32_t word = __ballot_sync(kAllLanes, taken);
    if (threadIdx.x % kWarp == 0) words[source.column(i) / 32] = word;
  }
  __syncthreads();
  const int word_count = static_cast<int>((problem.columns + 31) / 32);
  if (problem.short_indices) {
    write_columns<kThreads>(words, word_count, 0, static_cast<uint16_t*>(problem.indices) + row.list, shared.sums);
  } else {
    write_columns<kThreads>(words, word_count, 0, static_cast<int32_t*>(problem.indices) + row.list, shared.sums);
  }
  if (threadIdx.x == 0) problem.counts[index] = static_cast<int32_t>(wanted);
}

}  // namespace tamias
