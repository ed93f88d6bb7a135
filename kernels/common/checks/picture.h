// conv2d, upsample_nearest, image_rgb8.
#pragma once

#include "common/op.h"

namespace tamias {

// On CUDA x, weight and out may each be BF16 or F32.
struct ConvolutionArguments {
  View x, weight, out;
  View bias;  // optional
  int32_t stride, pad_top, pad_bottom, pad_left, pad_right;

  ConvolutionArguments(const Op& op, const tamias_tensor* x, const tamias_tensor* weight, const tamias_tensor* bias,
                       int32_t stride, int32_t pad_top, int32_t pad_bottom, int32_t pad_left, int32_t pad_right,
                       const tamias_tensor* out);
};

struct UpsampleArguments {
  View x, out;
  int32_t factor;

  UpsampleArguments(const Op& op, const tamias_tensor* x, int32_t factor, const tamias_tensor* out);
};

struct ImageArguments {
  View x, out;

  ImageArguments(const Op& op, const tamias_tensor* x, const tamias_tensor* out);
};

}  // namespace tamias
