#include "column_mask.h"

namespace tamias {

ColumnMask::ColumnMask(const Op& op, const tamias_tensor* index_tensor, const tamias_tensor* count_tensor,
                       int64_t batch, int64_t lists, int64_t groups, int64_t columns, bool written)
    : lists(lists), groups(groups), columns(columns) {
  indices = written ? op.output("indices", index_tensor, kIndices, 4, 4)
                    : op.input("indices", index_tensor, kIndices, 4, 4);
  counts = written ? op.output("counts", count_tensor, kI32, 3, 3) : op.input("counts", count_tensor, kI32, 3, 3);
  capacity = indices.size(3);
  short_indices = indices.dtype == TAMIAS_U16;
  op.shape(indices, {batch, lists, groups, capacity});
  op.shape(counts, {batch, lists, groups});
  op.contiguous(indices);
  op.contiguous(counts);
  if (short_indices && columns > 65536) {
    refuse("indices are U16, which cannot name all of %lld columns", (long long)columns);
  }
  if (columns > INT32_MAX) refuse("%lld columns are more than an index can name", (long long)columns);
}

}  // namespace tamias
