// Ops on whole rows: scale_rows, row_norms, block_means.
#pragma once

#include "common/op.h"

namespace tamias {

struct ScaleRowsArguments {
  View x;
  View scale;
  int64_t scale_step;  // in elements, from row to row: 0 where one factor serves all

  ScaleRowsArguments(const Op& op, const tamias_tensor* x, const tamias_tensor* scale);
};

struct RowNormsArguments {
  View x, out;

  RowNormsArguments(const Op& op, const tamias_tensor* x, const tamias_tensor* out);
};

struct BlockMeansArguments {
  View x, out;
  int64_t group, groups;

  BlockMeansArguments(const Op& op, const tamias_tensor* x, int64_t group, const tamias_tensor* out);
};

}  // namespace tamias
