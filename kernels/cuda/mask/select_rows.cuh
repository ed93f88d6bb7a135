// The launch of one rule.
#pragma once

#include <algorithm>

#include "select_long_rows.cuh"
#include "select_plan.h"
#include "select_short_rows.cuh"

namespace tamias {

// `kBlocks`: on a multiprocessor at a time.
template <int kThreads, int kValues, int kBlocks, SelectRule kRule>
cudaError_t launch_short_rows(const SelectProblem& problem, const Launch& launch) {
  select_short_rows<kThreads, kValues, kBlocks, kRule>
      <<<static_cast<unsigned>(row_count(problem)), kThreads, 0, launch.stream>>>(problem);
  return cudaGetLastError();
}

template <SelectRule kRule>
cudaError_t find_long_layout(const SelectProblem& problem, LongLayout& layout) {
  int device, per_multiprocessor, per_block;
  cudaFuncAttributes attributes;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) {
    error = cudaDeviceGetAttribute(&per_multiprocessor, cudaDevAttrMaxSharedMemoryPerMultiprocessor, device);
  }
  if (error == cudaSuccess) {
    error = cudaDeviceGetAttribute(&per_block, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  }
  if (error == cudaSuccess) error = cudaFuncGetAttributes(&attributes, select_long_rows<kRule>);
  if (error != cudaSuccess) return error;

  constexpr int64_t kReserved = 1024;  // by the driver, for each block
  constexpr int64_t kCandidateBytes = 2 * sizeof(uint32_t);
  const auto taken = static_cast<int64_t>(attributes.sharedSizeBytes);
  const int64_t half = (per_multiprocessor / 2 - kReserved - taken) / kCandidateBytes / 16 * 16;
  const int64_t whole = (per_block - taken) / kCandidateBytes / 16 * 16;
  const bool few = kRule != SelectRule::top_k || 1.5 * static_cast<double>(problem.k) < static_cast<double>(half);
  const int64_t capacity = few ? half : whole;
  layout.keys = 0;
  layout.columns = static_cast<uint32_t>(capacity * sizeof(uint32_t));
  layout.capacity = static_cast<uint32_t>(capacity);
  layout.bytes = static_cast<uint32_t>(capacity * kCandidateBytes);
  layout.tile = layout.bytes / sizeof(uint32_t) * 32;
  return cudaSuccess;
}

template <SelectRule kRule>
cudaError_t launch_long_rows(const SelectProblem& problem, const Launch& launch) {
  const auto kernel = select_long_rows<kRule>;
  LongLayout layout;
  cudaError_t error = find_long_layout<kRule>(problem, layout);
  if (error == cudaSuccess) {
    error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(layout.bytes));
  }
  if (error != cudaSuccess) return error;
  const int64_t blocks = long_row_blocks(problem, launch.multiprocessors);
  kernel<<<static_cast<unsigned>(blocks), kLongThreads, layout.bytes, launch.stream>>>(
      problem, layout, reinterpret_cast<uint32_t*>(launch.workspace));
  return cudaGetLastError();
}

template <SelectRule kRule>
cudaError_t select_rows(const SelectProblem& problem, const Launch& launch) {
  if (problem.columns <= 5120) return launch_short_rows<256, 20, 5, kRule>(problem, launch);
  if (problem.columns <= kLongestShortRow) return launch_short_rows<512, 24, 2, kRule>(problem, launch);
  return launch_long_rows<kRule>(problem, launch);
}

}  // namespace tamias
