// Where a row of scores lies and where its list goes.
#pragma once

#include <cstdint>

#include "../../include/tamias.h"
#include "select_problem.h"

namespace tamias {

struct Row {
  const float* scores;
  const uint8_t* always;
  int64_t always_step;
  uint32_t columns;
  bool dense;
  int64_t list;  // offset of its indices, in elements

  __device__ Row(const SelectProblem& problem, int64_t index)
      : always(problem.always),
        always_step(problem.always_step),
        columns(static_cast<uint32_t>(problem.columns)),
        list(index * problem.capacity) {
    const int64_t group = index % problem.groups;
    const int64_t outer = index / problem.groups;
    scores = problem.scores + outer / problem.lists * problem.score_batch +
             outer % problem.lists * problem.score_list + group * problem.score_group;
    dense = problem.dense_groups && problem.dense_groups[group * problem.dense_step] != 0;
  }

  __device__ __forceinline__ bool is_always(uint32_t column) const {
    return always && always[column * always_step] != 0;
  }
};

}  // namespace tamias
