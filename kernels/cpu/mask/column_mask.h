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

  // Checks the tensors. `written`: they are outputs.
  ColumnMask(const Op& op, const tamias_tensor* indices, const tamias_tensor* counts, int64_t batch, int64_t lists,
             int64_t groups, int64_t columns, bool written);

  int64_t size() const { return counts.elements(); }  // groups of all batches and lists

  int64_t count(int64_t group) const { return counts.as<int32_t>()[group]; }
  bool every_column(int64_t group) const { return count(group) == TAMIAS_ALL_COLUMNS; }
  int64_t chosen(int64_t group) const { return every_column(group) ? columns : count(group); }
  const void* list(int64_t group) const {  // null: all columns in order
    if (every_column(group)) return nullptr;
    return indices.data + group * capacity * static_cast<int64_t>(short_indices ? 2 : 4);
  }

  // In the closure: fails if a count or an index is out of range, so that kernels may trust them.
  // `all_needs_capacity`: TAMIAS_ALL_COLUMNS is only right where the list has room for every column.
  void check_contents(const char* function, bool all_needs_capacity) const;
};

}  // namespace tamias
