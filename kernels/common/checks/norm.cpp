#include "norm.h"

namespace tamias {
namespace {

constexpr int64_t kMoments = 3;  // count, mean, sum of squared distances

void check_groups(const View& x, int32_t groups) {
  if (groups >= 1 && x.size(1) % groups == 0) return;
  refuse("groups is %d, which does not divide the %lld channels of x", groups, (long long)x.size(1));
}

}  // namespace

LayerNormArguments::LayerNormArguments(const Op& op, const tamias_tensor* x_tensor, const tamias_tensor* weight_tensor,
                                       const tamias_tensor* bias_tensor, const tamias_tensor* scale_tensor,
                                       const tamias_tensor* shift_tensor, float epsilon,
                                       const tamias_tensor* out_tensor)
    : epsilon(epsilon) {
  x = op.input("x", x_tensor, kActivations, 3, 3);
  const int64_t d = x.size(2);
  weight = op.optional_input("weight", weight_tensor, kWeights, 1, 1);
  bias = op.optional_input("bias", bias_tensor, kWeights, 1, 1);
  scale = op.optional_input("scale", scale_tensor, kWeights, 2, 2);
  shift = op.optional_input("shift", shift_tensor, kWeights, 2, 2);
  out = op.output("out", out_tensor, kActivations, 3, 3);
  op.same_shape(out, x);
  op.shape(weight, {d});
  op.shape(bias, {d});
  op.shape(scale, {x.size(0), d});
  op.shape(shift, {x.size(0), d});
  op.rows(x);
  op.rows(out);
  op.apart(out, {weight, bias, scale, shift});
  op.apart_or_same(out, {x});
  Op::epsilon(epsilon);
}

RmsNormArguments::RmsNormArguments(const Op& op, const tamias_tensor* x_tensor, const tamias_tensor* weight_tensor,
                                   float epsilon, const tamias_tensor* out_tensor)
    : epsilon(epsilon) {
  x = op.input("x", x_tensor, kActivations, 2, 4);
  weight = op.optional_input("weight", weight_tensor, kWeights, 1, 1);
  out = op.output("out", out_tensor, kActivations, 2, 4);
  op.same_shape(out, x);
  op.shape(weight, {x.size(-1)});
  op.rows(x);
  op.rows(out);
  op.apart(out, {weight});
  op.apart_or_same(out, {x});
  Op::epsilon(epsilon);
}

NormRopeArguments::NormRopeArguments(const Op& op, const tamias_tensor* x_tensor, const tamias_tensor* weight_tensor,
                                     float epsilon, const tamias_tensor* cos_tensor, const tamias_tensor* sin_tensor,
                                     int32_t rope_layout, const tamias_tensor* out_tensor)
    : epsilon(epsilon), halves(rope_layout == TAMIAS_ROPE_HALVES) {
  x = op.input("x", x_tensor, kActivations, 4, 4);
  const int64_t tokens = x.size(2);
  const int64_t head_dim = x.size(3);
  weight = op.optional_input("weight", weight_tensor, kWeights, 1, 1);
  cos = op.optional_input("cos", cos_tensor, kF32, 2, 2);
  sin = op.optional_input("sin", sin_tensor, kF32, 2, 2);
  out = op.output("out", out_tensor, kActivations, 4, 4);
  op.same_shape(out, x);
  op.shape(weight, {head_dim});
  if (static_cast<bool>(cos) != static_cast<bool>(sin)) {
    refuse("%s is NULL, but %s is given", cos ? "sin" : "cos", cos ? "cos" : "sin");
  }
  if (cos && head_dim % 2 != 0) refuse("x has headDim %lld, which cannot be rotated", (long long)head_dim);
  op.shape(cos, {tokens, head_dim / 2});
  op.shape(sin, {tokens, head_dim / 2});
  op.rows(x);
  op.rows(out);
  op.apart(out, {weight, cos, sin});
  op.apart_or_same(out, {x});
  if (rope_layout != TAMIAS_ROPE_PAIRS && rope_layout != TAMIAS_ROPE_HALVES) {
    refuse("rope_layout is %d, expected 0 or 1", rope_layout);
  }
  if (weight) Op::epsilon(epsilon);
}

GroupNormArguments::GroupNormArguments(const Op& op, const tamias_tensor* x_tensor, int32_t groups,
                                       const tamias_tensor* moments_tensor, const tamias_tensor* weight_tensor,
                                       const tamias_tensor* bias_tensor, float epsilon, int32_t activation,
                                       const tamias_tensor* out_tensor)
    : groups(groups), epsilon(epsilon), activation(activation) {
  x = op.input("x", x_tensor, kActivations, 4, 4);
  const int64_t channels = x.size(1);
  moments = op.optional_input("moments", moments_tensor, kF32, 3, 3);
  weight = op.optional_input("weight", weight_tensor, kWeights, 1, 1);
  bias = op.optional_input("bias", bias_tensor, kWeights, 1, 1);
  out = op.output("out", out_tensor, kActivations, 4, 4);
  op.same_shape(out, x);
  op.contiguous(x);
  op.contiguous(out);
  op.shape(weight, {channels});
  op.shape(bias, {channels});
  check_groups(x, groups);
  op.shape(moments, {x.size(0), groups, kMoments});
  op.contiguous(moments);
  op.apart(out, {moments, weight, bias});
  op.apart_or_same(out, {x});
  Op::epsilon(epsilon);
  Op::activation(activation);
}

GroupMomentsArguments::GroupMomentsArguments(const Op& op, const tamias_tensor* x_tensor, int32_t groups,
                                             const tamias_tensor* moments_tensor)
    : groups(groups) {
  x = op.input("x", x_tensor, kActivations, 4, 4);
  moments = op.output("moments", moments_tensor, kF32, 3, 3);
  op.contiguous(x);
  check_groups(x, groups);
  op.shape(moments, {x.size(0), groups, kMoments});
  op.contiguous(moments);
  op.apart(moments, {x});
}

}  // namespace tamias
