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

  // 32-bit divisions: those of 64 bits would take longer than much else of a row.
  __device__ Row(const SelectProblem& problem, uint32_t index)
      : always(problem.always),
        always_step(problem.always_step),
        columns(static_cast<uint32_t>(problem.columns)),
        list(index * problem.capacity) {
    const auto groups = static_cast<uint32_t>(problem.groups);
    const auto lists = static_cast<uint32_t>(problem.lists);
    const uint32_t group = index % groups;
    const uint32_t outer = index / groups;
    scores = problem.scores + outer / lists * problem.score_batch + outer % lists * problem.score_list +
             group * problem.score_group;
    dense = problem.dense_groups && problem.dense_groups[group * problem.dense_step] != 0;
  }

  __device__ __forceinline__ bool is_always(uint32_t column) const {
    return always && always[column * always_step] != 0;
  }
};

}  // namespace tamias
