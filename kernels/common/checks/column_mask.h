// A mask argument: which columns of each group are chosen.
#pragma once

#include <cstdint>

#include "common/op.h"

namespace tamias {

struct ColumnMask {
  View indices;  // I32 or U16, [batch, lists, groups, capacity]
  View counts;   // I32, [batch, lists, groups]
  int64_t lists = 0;
  int64_t groups = 0;
  int64_t capacity = 0;
  int64_t columns = 0;
  bool short_indices = false;

  // `written`: they are outputs.
  ColumnMask(const Op& op, const tamias_tensor* indices, const tamias_tensor* counts, int64_t batch, int64_t lists,
             int64_t groups, int64_t columns, bool written);

  int64_t size() const { return counts.elements(); }  // groups of all batches and lists
};

}  // namespace tamias
