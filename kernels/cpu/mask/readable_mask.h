// A mask whose contents are read, inside a closure.
#pragma once

#include "common/checks/column_mask.h"

namespace tamias {

struct ReadableMask : ColumnMask {
  explicit ReadableMask(const ColumnMask& mask) : ColumnMask(mask) {}

  int64_t count(int64_t group) const { return counts.as<int32_t>()[group]; }
  bool every_column(int64_t group) const { return count(group) == TAMIAS_ALL_COLUMNS; }
  int64_t chosen(int64_t group) const { return every_column(group) ? columns : count(group); }
  const void* list(int64_t group) const {  // null: all columns in order
    if (every_column(group)) return nullptr;
    return indices.data + group * capacity * static_cast<int64_t>(short_indices ? 2 : 4);
  }

  // Fails if a count or an index is out of range, so that kernels may trust them.
  // `all_needs_capacity`: TAMIAS_ALL_COLUMNS is only right where the list has room for every column.
  void check_contents(const char* function, bool all_needs_capacity) const;
};

}  // namespace tamias
