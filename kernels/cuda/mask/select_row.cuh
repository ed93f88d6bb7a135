// Where a row of scores lies and where its list goes.
#pragma once

#include <cstdint>

#include "../../include/tamias.h"
#include "select_problem.h"

namespace tamias {

struct Row {
  const float* scores;
  int64_t list;  // offset of its indices, in elements
  bool dense;
};

__device__ __forceinline__ Row row_at(const SelectProblem& problem, int64_t index) {
  const int64_t group = index % problem.groups;
  const int64_t outer = index / problem.groups;
  Row row;
  row.scores = problem.scores + outer / problem.lists * problem.score_batch +
               outer % problem.lists * problem.score_list + group * problem.score_group;
  row.list = index * problem.capacity;
  row.dense = problem.dense_groups && problem.dense_groups[group * problem.dense_step] != 0;
  return row;
}

}  // namespace tamias
