#include "change_norms.h"

#include "move.h"

namespace tamias {

ChangeNormsArguments::ChangeNormsArguments(const Op& op, const tamias_tensor* now_tensor,
                                           const tamias_tensor* before_tensor, const tamias_tensor* out_tensor) {
  now = op.input("now", now_tensor, kFloating);
  before = op.optional_input("before", before_tensor, kFloating);
  out = op.output("out", out_tensor, kF32, 1, 1);
  op.same_shape(before, now);
  op.shape(out, {2});
  op.apart(out, {now, before});
}

}  // namespace tamias
