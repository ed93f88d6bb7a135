#include "dense_fc2.h"

#include <algorithm>

#include "../dense/rows.h"
#include "runtime/check.h"

namespace tamias {
namespace {

uint64_t address_of(const void* data) { return reinterpret_cast<uint64_t>(data); }

// cuBLASLt has no fast product, or none at all, where rows do not start at multiples of 16 bytes.
bool aligned(const View& view, int64_t row) {
  return address_of(view.data) % 16 == 0 && row * static_cast<int64_t>(dtype_size(view.dtype)) % 16 == 0;
}

}  // namespace

std::optional<DenseFc2> DenseFc2::plan(const Op& op, const Fc2Arguments& layer,
                                                       Scratch& space) {
  const View& w2t = layer.w2t;
  const View& out = layer.out;
  const bool suits = layer.slabs.dtype == w2t.dtype && (w2t.dtype == TAMIAS_BF16 || out.dtype == TAMIAS_F32) &&
                     layer.hidden > 0 && aligned(layer.slabs, layer.group) && aligned(w2t, w2t.step(0)) &&
                     w2t.step(0) >= layer.n && aligned(out, out.step(1)) && out.step(1) >= layer.n &&
                     (layer.batch == 1 || aligned(out, out.step(0)));
  if (!suits) return {};
  DenseFc2 dense(layer);
  const int64_t full = layer.tokens / layer.group;
  const int64_t rest = layer.tokens % layer.group;
  const View& b2 = layer.b2;
  dense.packs_bias_ =
      b2 && (b2.dtype != out.dtype || (layer.n > 1 && b2.step(0) != 1) || address_of(b2.data) % 16 != 0);
  if (dense.packs_bias_) dense.bias_ = space.take(layer.n * static_cast<int64_t>(dtype_size(out.dtype)));
  if (full > 0 && !dense.add(op, dense.part(0, full, layer.group))) return {};
  if (rest > 0 && !dense.add(op, dense.part(full, 1, rest))) return {};
  size_t most = 0;
  for (const Part& part : dense.parts_) most = std::max(most, part.plan->workspace_bytes());
  dense.workspace_ = space.take(static_cast<int64_t>(most));
  return dense;
}

DenseFc2::Part DenseFc2::part(int64_t first_group, int64_t groups, int64_t tokens) const {
  const int64_t slab = layer_.hidden * layer_.group;
  const int64_t group_rows = layer_.group * layer_.out.step(1);
  MatrixProduct product{};
  product.rows = tokens;
  product.columns = layer_.n;
  product.depth = layer_.hidden;
  product.x = layer_.slabs.data + first_group * slab * static_cast<int64_t>(dtype_size(layer_.slabs.dtype));
  product.x_step = layer_.group;
  product.x_transposed = true;
  product.weight = layer_.w2t.data;
  product.weight_step = layer_.w2t.step(0);
  product.weight_transposed = true;
  product.out = layer_.out.data + first_group * group_rows * static_cast<int64_t>(dtype_size(layer_.out.dtype));
  product.out_step = layer_.out.step(1);
  product.count = groups;
  product.x_distance = slab;
  product.out_distance = group_rows;
  product.dtype = layer_.slabs.dtype;
  product.out_dtype = layer_.out.dtype;
  product.x_alignment = product.weight_alignment = product.out_alignment = 16;
  product.bias = layer_.b2.data;
  return {product, nullptr};
}

bool DenseFc2::add(const Op& op, const Part& part) {
  parts_.push_back(part);
  parts_.back().plan = plan_product(op.device(), part.product);
  return parts_.back().plan != nullptr;
}

void DenseFc2::run(const Run& run) const {
  const View& b2 = layer_.b2;
  const void* bias = b2.data;
  if (packs_bias_) {
    // A column of n rows.
    const Matrix in = {b2.data, b2.dtype, b2.step(0)};
    const Matrix packed = {run.workspace + bias_, layer_.out.dtype, 1};
    check_cuda(pack_rows(in, packed, layer_.n, 1, run.launch()), "converting b2");
    bias = packed.data;
  }
  const auto slabs_size = static_cast<int64_t>(dtype_size(layer_.slabs.dtype));
  const auto out_size = static_cast<int64_t>(dtype_size(layer_.out.dtype));
  for (int64_t batch = 0; batch < layer_.batch; ++batch) {
    for (const Part& part : parts_) {
      MatrixProduct product = part.product;
      product.x = static_cast<const char*>(product.x) +
                  batch * layer_.groups * layer_.hidden * layer_.group * slabs_size;
      product.out = static_cast<char*>(product.out) + batch * layer_.out.step(0) * out_size;
      product.bias = bias;
      part.plan->run(product, run.stream, run.workspace + workspace_);
    }
  }
}

}  // namespace tamias
