// layer_norm, rms_norm, norm_rope, group_norm, group_moments. x and out may be of different dtypes on CUDA.
#pragma once

#include "common/op.h"

namespace tamias {

struct LayerNormArguments {
  View x, out;
  View weight, bias;   // optional
  View scale, shift;   // optional
  float epsilon;

  LayerNormArguments(const Op& op, const tamias_tensor* x, const tamias_tensor* weight, const tamias_tensor* bias,
                     const tamias_tensor* scale, const tamias_tensor* shift, float epsilon, const tamias_tensor* out);
};

struct RmsNormArguments {
  View x, out;
  View weight;  // optional
  float epsilon;

  RmsNormArguments(const Op& op, const tamias_tensor* x, const tamias_tensor* weight, float epsilon,
                   const tamias_tensor* out);
};

struct NormRopeArguments {
  View x, out;
  View weight;    // optional: no norm
  View cos, sin;  // optional together: no rotation
  float epsilon;
  bool halves;

  NormRopeArguments(const Op& op, const tamias_tensor* x, const tamias_tensor* weight, float epsilon,
                    const tamias_tensor* cos, const tamias_tensor* sin, int32_t rope_layout, const tamias_tensor* out);
};

struct GroupNormArguments {
  View x, out;
  View moments;       // optional
  View weight, bias;  // optional
  int32_t groups;
  float epsilon;
  int32_t activation;

  GroupNormArguments(const Op& op, const tamias_tensor* x, int32_t groups, const tamias_tensor* moments,
                     const tamias_tensor* weight, const tamias_tensor* bias, float epsilon, int32_t activation,
                     const tamias_tensor* out);
};

struct GroupMomentsArguments {
  View x, moments;
  int32_t groups;

  GroupMomentsArguments(const Op& op, const tamias_tensor* x, int32_t groups, const tamias_tensor* moments);
};

}  // namespace tamias
