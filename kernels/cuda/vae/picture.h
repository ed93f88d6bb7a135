// Passes over pictures [batch, channels, height, width], contiguous unless strides are given.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "../common/launch.h"
#include "common/checks/norm.h"
#include "common/checks/picture.h"

namespace tamias {

// `planes` pictures of one channel with zeros around them. element_bytes: 2 or 4.
struct Padding {
  int64_t planes, height, width;
  int64_t top, bottom, left, right;
};
cudaError_t pad_planes(const void* in, void* out, int32_t element_bytes, const Padding& padding, const Launch& launch);

// out[b, c, p] = in[b, c, p] + bias[c]; `in` may be `out`. Types are BF16 or F32.
struct ChannelBias {
  const void* in;
  int32_t in_dtype;
  void* out;
  int32_t out_dtype;
  View bias;  // optional
  int64_t batch, channels, pixels;
};
cudaError_t add_channel_bias(const ChannelBias& problem, const Launch& launch);

int64_t group_norm_scratch_bytes(const GroupNormArguments& arguments);
cudaError_t group_norm(const GroupNormArguments& arguments, const Launch& launch);

cudaError_t upsample_nearest(const UpsampleArguments& arguments, const Launch& launch);
cudaError_t image_rgb8(const ImageArguments& arguments, const Launch& launch);

}  // namespace tamias
