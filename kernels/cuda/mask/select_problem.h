// A selection of columns as the kernels see it: plain addresses and strides, already checked (tamias.h, "masks").
#pragma once

#include <cstddef>
#include <cstdint>

#include "../common/launch.h"

namespace tamias {

struct SelectProblem {
  const float* scores;  // [batch, lists, groups, columns], columns contiguous
  int64_t batch, lists, groups, columns;
  int64_t score_batch, score_list, score_group;  // strides
  const uint8_t* always;                         // [columns] or null
  int64_t always_step;
  const uint8_t* dense_groups;  // [groups] or null
  int64_t dense_step;

  int64_t k;                 // of select_top_k
  float mass;                // of select_mass
  int64_t minimum, maximum;  // of select_mass; select_threshold has a maximum only
  float z;                   // of select_threshold

  void* indices;  // contiguous [batch, lists, groups, capacity], uint16_t or int32_t
  bool short_indices;
  int64_t capacity;
  int32_t* counts;  // contiguous [batch, lists, groups]
};

// The workspace is select_workspace of select_plan.h.
cudaError_t select_top_k(const SelectProblem& problem, const Launch& launch);
cudaError_t select_mass(const SelectProblem& problem, const Launch& launch);
cudaError_t select_threshold(const SelectProblem& problem, const Launch& launch);

}  // namespace tamias
