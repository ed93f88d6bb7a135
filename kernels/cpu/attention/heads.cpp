#include "heads.h"

#include <cmath>

namespace tamias {

Heads::Heads(const Op& op, const tamias_tensor* q_tensor, const tamias_tensor* k_tensor, const tamias_tensor* v_tensor,
             float scale, const tamias_tensor* out_tensor)
    : scale(scale) {
  q = op.input("q", q_tensor, kF32, 4, 4);
  k = op.input("k", k_tensor, kF32, 4, 4);
  v = op.input("v", v_tensor, kF32, 4, 4);
  out = op.output("out", out_tensor, kF32, 4, 4);
  batch = q.size(0);
  heads = q.size(1);
  queries = q.size(2);
  head_dim = q.size(3);
  keys = k.size(2);
  if (k.size(3) != head_dim) {
    refuse("k has headDim %lld, q has %lld", (long long)k.size(3), (long long)head_dim);
  }
  op.shape(k, {batch, heads, keys, head_dim});
  op.same_shape(v, k);
  op.same_shape(out, q);
  for (const View& view : {q, k, v, out}) op.rows(view);
  op.apart(out, {q, k, v});
  if (!std::isfinite(scale)) refuse("scale is %g, expected a finite number", scale);
  if (keys > INT32_MAX) refuse("k has %lld keys, more than an index can name", (long long)keys);
}

AttentionBlock Heads::block(int64_t b, int64_t h, int64_t first, int64_t count) const {
  AttentionBlock block{};
  block.q = at(q, b, h, first);
  block.q_stride = q.stride[2];
  block.queries = count;
  block.head_dim = head_dim;
  block.scale = scale;
  block.k = {at(k, b, h, 0), TAMIAS_F32, k.stride[2]};
  block.v = {at(v, b, h, 0), TAMIAS_F32, v.stride[2]};
  block.keys = keys;
  block.causal_from = -1;
  block.out = at(out, b, h, first);
  block.out_stride = out.stride[2];
  return block;
}

View Heads::row_statistic(const Op& op, const char* name, const tamias_tensor* tensor, bool written) const {
  const View view = written ? op.optional_output(name, tensor, kF32, 3, 3) : op.optional_input(name, tensor, kF32, 3, 3);
  op.shape(view, {batch, heads, queries});
  return view;
}

}  // namespace tamias
