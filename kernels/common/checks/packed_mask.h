#pragma once

#include "column_mask.h"

namespace tamias {

// mask_pack and mask_unpack: lists of columns, and the same as gap codes.
struct PackedMask {
  ColumnMask mask;  // of an unpacking: `columns` is as many as the indices' dtype can name
  View packed;      // U8, [batch, lists, groups, bytes]
  int64_t bytes;    // of a list

  static PackedMask pack(const Op& op, const tamias_tensor* indices, const tamias_tensor* counts, int64_t columns,
                         const tamias_tensor* packed);
  static PackedMask unpack(const Op& op, const tamias_tensor* packed, const tamias_tensor* counts,
                           const tamias_tensor* indices);
};

// A code: so many columns are left out before the next one that is chosen; this many when none is chosen after them.
constexpr uint8_t kSkip = 255;

}  // namespace tamias
