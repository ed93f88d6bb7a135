#pragma once

#include <stdint.h>

namespace tamias {

// One row each; null parameters are left out. Rows may be normalised in place.
struct NormKernels {
  void (*layer_norm)(const float* x, const float* weight, const float* bias, const float* scale, const float* shift,
                     float epsilon, float* out, int64_t d);
  void (*rms_norm)(const float* x, const float* weight, float epsilon, float* out, int64_t d);
  void (*rope)(const float* x, float factor, const float* weight, const float* cos, const float* sin, bool halves,
               float* out, int64_t head_dim);
  float (*rms_factor)(const float* x, float epsilon, int64_t d);
  double (*sum)(const float* x, int64_t count);
  double (*sum_of_squares)(const float* x, float mean, int64_t count);  // of x - mean
  double (*sum_of_magnitudes)(const float* x, int64_t count);
  double (*sum_of_distances)(const float* a, const float* b, int64_t count);
  // out = activation(x * scale + shift)
  void (*scale_shift)(const float* x, float scale, float shift, int activation, float* out, int64_t count);
  // sum += x
  void (*add)(const float* x, float* sum, int64_t count);
  // x *= factor
  void (*scale)(float factor, float* x, int64_t count);
};

namespace avx2 {
extern const NormKernels norm_kernels;
}
namespace avx512 {
extern const NormKernels norm_kernels;
}

}  // namespace tamias
