#include "heads.h"

namespace tamias {

AttentionBlock block_of(const AttentionHeads& heads, int64_t b, int64_t h, int64_t first, int64_t count) {
  AttentionBlock block{};
  block.q = at(heads.q, b, h, first);
  block.q_stride = heads.q.stride[2];
  block.queries = count;
  block.head_dim = heads.head_dim;
  block.scale = heads.scale;
  block.k = {at(heads.k, b, h, 0), TAMIAS_F32, heads.k.stride[2]};
  block.v = {at(heads.v, b, h, 0), TAMIAS_F32, heads.v.stride[2]};
  block.keys = heads.keys;
  block.causal_from = -1;
  block.out = at(heads.out, b, h, first);
  block.out_stride = heads.out.stride[2];
  return block;
}

}  // namespace tamias
