#include "rows.h"

namespace tamias {

ScaleRowsArguments::ScaleRowsArguments(const Op& op, const tamias_tensor* x_tensor,
                                       const tamias_tensor* scale_tensor) {
  x = op.output("x", x_tensor, kWeights, 2, 2);
  scale = op.input("scale", scale_tensor, kF32);
  op.rows(x);
  op.apart(x, {scale});
  const int64_t rows = x.size(0);
  const int64_t count = scale.elements();
  if (count != 1 && !(scale.rank == 1 && count == rows)) {
    refuse("scale has shape %s, expected [%lld] or one element", scale.shape_text().c_str(), (long long)rows);
  }
  scale_step = count == 1 ? 0 : scale.step(0);
}

RowNormsArguments::RowNormsArguments(const Op& op, const tamias_tensor* x_tensor, const tamias_tensor* out_tensor) {
  x = op.input("x", x_tensor, kWeights, 2, 2);
  out = op.output("out", out_tensor, kF32, 1, 1);
  op.shape(out, {x.size(0)});
  op.rows(x);
  op.apart(out, {x});
}

BlockMeansArguments::BlockMeansArguments(const Op& op, const tamias_tensor* x_tensor, int64_t group,
                                         const tamias_tensor* out_tensor)
    : group(group) {
  x = op.input("x", x_tensor, kActivations, 3, 3);
  out = op.output("out", out_tensor, kF32, 3, 3);
  if (group < 1) refuse("group is %lld, expected 1 or more", (long long)group);
  const int64_t tokens = x.size(1);
  groups = tokens / group + (tokens % group != 0);
  op.shape(out, {x.size(0), groups, x.size(2)});
  op.rows(x);
  op.rows(out);
  op.apart(out, {x});
}

}  // namespace tamias
