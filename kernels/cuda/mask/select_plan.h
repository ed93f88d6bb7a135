// How a selection is shared out.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>

#include "select_problem.h"

namespace tamias {

constexpr int64_t kLongestShortRow = 12288;
constexpr int64_t kMostNamed = int64_t{1} << 18;  // columns of a row whose candidates can be named

inline int64_t row_count(const SelectProblem& problem) { return problem.batch * problem.lists * problem.groups; }

inline int64_t long_row_blocks(const SelectProblem& problem, int multiprocessors) {
  return std::min<int64_t>(row_count(problem), 2 * multiprocessors);
}

// Each block of long rows has the always columns as bits, in as many words; one more is read, for nothing.
__host__ __device__ inline int64_t always_words(const SelectProblem& problem) { return problem.columns / 32 + 2; }

inline size_t select_workspace(const SelectProblem& problem, int multiprocessors) {
  if (!problem.always || problem.columns <= kLongestShortRow || problem.columns > kMostNamed) return 0;
  return static_cast<size_t>(long_row_blocks(problem, multiprocessors) * always_words(problem)) * sizeof(uint32_t);
}

}  // namespace tamias
