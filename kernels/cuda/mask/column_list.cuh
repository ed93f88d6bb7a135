// A mask as kernels read it. Its contents were not checked by anybody: a wrong count is taken as 0, a wrong index as
// the nearest right one, and the failure is raised.
#pragma once

#include <cstdint>

#include "../runtime/fault.h"
#include "tamias.h"

namespace tamias {

struct ColumnLists {
  const void* indices = nullptr;  // contiguous [lists, capacity], uint16_t or int32_t
  bool short_indices = false;
  int64_t capacity = 0;
  const int32_t* counts = nullptr;  // null: every column of every list
  uint32_t* failure = nullptr;      // gets kWrongMask where a count or an index is out of range
  bool all_needs_capacity = false;  // TAMIAS_ALL_COLUMNS is only right where a list has room for every column
};

// One of the lists.
struct ColumnList {
  const void* indices;  // null: every column in order
  bool short_indices;
  int32_t count;
  int32_t columns;
  uint32_t* failure;

  __device__ ColumnList(const ColumnLists& lists, int64_t list, int64_t all_columns)
      : indices(nullptr), short_indices(lists.short_indices), count(static_cast<int32_t>(all_columns)),
        columns(static_cast<int32_t>(all_columns)), failure(lists.failure) {
    if (!lists.counts) return;
    const int32_t chosen = lists.counts[list];
    if (chosen == TAMIAS_ALL_COLUMNS) {
      if (lists.all_needs_capacity && lists.capacity < all_columns) fail();
      return;
    }
    if (chosen < 0 || chosen > lists.capacity || (chosen > 0 && all_columns == 0)) {
      fail();
      return;
    }
    indices = static_cast<const char*>(lists.indices) + list * lists.capacity * (short_indices ? 2 : 4);
    count = chosen;
  }

  // 0 <= place < count.
  __device__ int32_t column(int32_t place) const {
    if (!indices) return place;
    const int32_t index = short_indices ? static_cast<const uint16_t*>(indices)[place]
                                        : static_cast<const int32_t*>(indices)[place];
    if (static_cast<uint32_t>(index) < static_cast<uint32_t>(columns)) return index;
    *failure = kWrongMask;
    return index < 0 ? 0 : columns - 1;
  }

 private:
  __device__ void fail() {
    *failure = kWrongMask;
    count = 0;
  }
};

}  // namespace tamias
