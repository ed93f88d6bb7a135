#include "mlp.h"

namespace tamias {
namespace {

// Slabs [batch, groups, places, group] against tokens [batch, tokens, width].
void check_slabs(const Op& op, const View& slabs, const View& tokens) {
  op.contiguous(slabs);
  const int64_t group = slabs.size(3);
  if (group < 1 || group > 4096) {
    refuse("%s has groups of %lld tokens, expected 1 to 4096", slabs.name, (long long)group);
  }
  op.shape(slabs, {tokens.size(0), (tokens.size(1) + group - 1) / group, slabs.size(2), group});
}

void check_neurons(const char* name, int64_t hidden) {
  if (hidden > INT32_MAX) refuse("%s has %lld neurons, more than an index can name", name, (long long)hidden);
}

}  // namespace

Fc1Arguments::Fc1Arguments(const Op& op, const tamias_tensor* x_tensor, const tamias_tensor* w1_tensor,
                                         const tamias_tensor* b1_tensor, int32_t activation,
                                         const tamias_tensor* activations_tensor)
    : activation(activation), delta{.name = "delta"} {
  Op::activation(activation);
  x = op.input("x", x_tensor, kActivations, 3, 3);
  w1 = op.input("w1", w1_tensor, kWeights, 2, 2);
  b1 = op.optional_input("b1", b1_tensor, kWeights, 1, 1);
  activations = op.output("activations", activations_tensor, kActivations, 4, 4);
  op.rows(x);
  op.rows(w1);
  hidden = w1.size(0);
  batch = x.size(0);
  tokens = x.size(1);
  d = x.size(2);
  op.shape(w1, {hidden, d});
  op.shape(b1, {hidden});
  check_neurons("w1", hidden);
  check_slabs(op, activations, x);
  groups = activations.size(1);
  group = activations.size(3);
  op.shape(activations, {batch, groups, hidden, group});
  op.same_dtype(activations, x);
}

Fc1Arguments Fc1Arguments::dense(const Op& op, const tamias_tensor* x, const tamias_tensor* w1,
                                               const tamias_tensor* b1, int32_t activation,
                                               const tamias_tensor* activations, const tamias_tensor* means_tensor) {
  Fc1Arguments layer(op, x, w1, b1, activation, activations);
  layer.means = op.optional_output("means", means_tensor, kF32, 3, 3);
  op.shape(layer.means, {layer.batch, layer.groups, layer.hidden});
  op.rows(layer.means);
  op.apart(layer.activations, {layer.x, layer.w1, layer.b1, layer.means});
  op.apart(layer.means, {layer.x, layer.w1, layer.b1});
  return layer;
}

Fc1Arguments Fc1Arguments::chosen(const Op& op, const tamias_tensor* x, const tamias_tensor* w1,
                                                const tamias_tensor* b1, int32_t activation,
                                                const tamias_tensor* indices, const tamias_tensor* counts,
                                                const tamias_tensor* activations, const tamias_tensor* delta_tensor) {
  Fc1Arguments layer(op, x, w1, b1, activation, activations);
  const ColumnMask& mask =
      layer.mask.emplace(op, indices, counts, layer.batch, 1, layer.groups, layer.hidden, false);
  layer.delta = op.output("delta", delta_tensor, kActivations, 4, 4);
  op.contiguous(layer.delta);
  op.shape(layer.delta, {layer.batch, layer.groups, mask.capacity, layer.group});
  op.same_dtype(layer.delta, layer.x);
  op.apart(layer.activations, {mask.indices, mask.counts, layer.delta});
  op.apart(layer.delta, {layer.x, layer.w1, layer.b1, mask.indices, mask.counts});
  op.apart(layer.activations, {layer.x, layer.w1, layer.b1});
  return layer;
}

Fc2Arguments::Fc2Arguments(const Op& op, const View& slabs, const tamias_tensor* w2t_tensor,
                                           const tamias_tensor* b2_tensor, const tamias_tensor* out_tensor,
                                           Types out_types)
    : slabs(slabs) {
  w2t = op.input("w2t", w2t_tensor, kWeights, 2, 2);
  b2 = op.optional_input("b2", b2_tensor, kWeights, 1, 1);
  out = op.output("out", out_tensor, out_types, 3, 3);
  op.rows(w2t);
  op.rows(out);
  hidden = w2t.size(0);
  batch = out.size(0);
  tokens = out.size(1);
  n = out.size(2);
  op.shape(w2t, {hidden, n});
  op.shape(b2, {n});
  check_neurons("w2t", hidden);
  check_slabs(op, slabs, out);
  groups = slabs.size(1);
  group = slabs.size(3);
}

Fc2Arguments Fc2Arguments::dense(const Op& op, const tamias_tensor* activations,
                                                 const tamias_tensor* w2t, const tamias_tensor* b2,
                                                 const tamias_tensor* out) {
  const View slabs = op.input("activations", activations, kActivations, 4, 4);
  Fc2Arguments layer(op, slabs, w2t, b2, out, kActivations);
  op.shape(slabs, {layer.batch, layer.groups, layer.hidden, layer.group});
  op.apart(layer.out, {slabs, layer.w2t, layer.b2});
  return layer;
}

Fc2Arguments Fc2Arguments::chosen(const Op& op, const tamias_tensor* delta,
                                                  const tamias_tensor* indices, const tamias_tensor* counts,
                                                  const tamias_tensor* w2t, const tamias_tensor* out) {
  const View slabs = op.input("delta", delta, kActivations, 4, 4);
  Fc2Arguments layer(op, slabs, w2t, nullptr, out, kF32);
  const ColumnMask& mask =
      layer.mask.emplace(op, indices, counts, layer.batch, 1, layer.groups, layer.hidden, false);
  op.shape(slabs, {layer.batch, layer.groups, mask.capacity, layer.group});
  op.apart(layer.out, {mask.indices, mask.counts});
  op.apart(layer.out, {slabs, layer.w2t});
  return layer;
}

}  // namespace tamias
