// Rows that panels are packed from: keys, values, weights.
#pragma once

#include <stdint.h>

namespace tamias {

struct RowSource {
  const void* data;
  int32_t dtype;   // F32, BF16 or F16
  int64_t stride;  // elements from row to row
};

}  // namespace tamias
