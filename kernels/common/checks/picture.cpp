#include "picture.h"

namespace tamias {
namespace {

int64_t outputs(int64_t length, int64_t before, int64_t after, int64_t kernel, int64_t stride) {
  const int64_t padded = length + before + after;
  return padded < kernel ? 0 : (padded - kernel) / stride + 1;
}

}  // namespace

ConvolutionArguments::ConvolutionArguments(const Op& op, const tamias_tensor* x_tensor,
                                           const tamias_tensor* weight_tensor, const tamias_tensor* bias_tensor,
                                           int32_t stride, int32_t pad_top, int32_t pad_bottom, int32_t pad_left,
                                           int32_t pad_right, const tamias_tensor* out_tensor)
    : stride(stride), pad_top(pad_top), pad_bottom(pad_bottom), pad_left(pad_left), pad_right(pad_right) {
  x = op.input("x", x_tensor, kActivations, 4, 4);
  weight = op.input("weight", weight_tensor, kWeights, 4, 4);
  bias = op.optional_input("bias", bias_tensor, kWeights, 1, 1);
  out = op.output("out", out_tensor, kActivations, 4, 4);
  op.contiguous(x);
  op.contiguous(weight);
  op.contiguous(out);
  op.apart(out, {x, weight, bias});
  constexpr int32_t kMost = 1 << 15;
  if (stride < 1 || stride > kMost) refuse("stride is %d, expected 1 or more", stride);
  const int32_t pads[] = {pad_top, pad_bottom, pad_left, pad_right};
  const char* pad_names[] = {"pad_top", "pad_bottom", "pad_left", "pad_right"};
  for (int i = 0; i < 4; ++i) {
    if (pads[i] < 0 || pads[i] > kMost) refuse("%s is %d, expected 0 to %d", pad_names[i], pads[i], kMost);
  }
  if (weight.size(1) != x.size(1)) {
    refuse("weight has shape %s, but x has %lld channels", weight.shape_text().c_str(), (long long)x.size(1));
  }
  if (weight.empty()) refuse("weight has shape %s, expected no dimension of 0", weight.shape_text().c_str());
  op.shape(bias, {weight.size(0)});
  op.shape(out, {x.size(0), weight.size(0), outputs(x.size(2), pad_top, pad_bottom, weight.size(2), stride),
                 outputs(x.size(3), pad_left, pad_right, weight.size(3), stride)});
  if (!out.empty() && x.empty()) refuse("x has shape %s, expected no height or width of 0", x.shape_text().c_str());
}

UpsampleArguments::UpsampleArguments(const Op& op, const tamias_tensor* x_tensor, int32_t factor,
                                     const tamias_tensor* out_tensor)
    : factor(factor) {
  x = op.input("x", x_tensor, kActivations, 4, 4);
  out = op.output("out", out_tensor, kActivations, 4, 4);
  if (factor < 1 || factor > 1024) refuse("factor is %d, expected 1 to 1024", factor);
  op.contiguous(x);
  op.contiguous(out);
  for (int axis = 2; axis < 4; ++axis) {
    if (x.size(axis) > (int64_t{1} << 40)) refuse("x has shape %s, which is too large", x.shape_text().c_str());
  }
  op.shape(out, {x.size(0), x.size(1), x.size(2) * factor, x.size(3) * factor});
  op.same_dtype(out, x);
  op.apart(out, {x});
}

ImageArguments::ImageArguments(const Op& op, const tamias_tensor* x_tensor, const tamias_tensor* out_tensor) {
  x = op.input("x", x_tensor, kActivations, 3, 3);
  out = op.output("out", out_tensor, kU8, 3, 3);
  if (x.size(0) != 3) refuse("x has shape %s, expected [3, height, width]", x.shape_text().c_str());
  op.shape(out, {x.size(1), x.size(2), 3});
  op.contiguous(out);
  op.apart(out, {x});
}

}  // namespace tamias
