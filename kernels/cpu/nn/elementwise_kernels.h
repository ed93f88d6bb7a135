#pragma once

#include <stdint.h>

namespace tamias {

// Lines of elements; steps are strides in elements, 0 or 1 on the fast path.
struct ElementwiseKernels {
  void (*activate)(int activation, const float* x, int64_t x_step, float* out, int64_t out_step, int64_t count);
  void (*combine)(float alpha, const float* a, int64_t a_step, float beta, const float* b, int64_t b_step, float* out,
                  int64_t out_step, int64_t count);
  void (*multiply)(const float* a, int64_t a_step, const float* b, int64_t b_step, float* out, int64_t out_step,
                   int64_t count);
  // out = residual + gate * x
  void (*gate_residual)(const float* residual, const float* gate, const float* x, float* out, int64_t count);
  // out = activation(out + bias); bias may be null
  void (*bias_activate)(int activation, const float* bias, float* out, int64_t count);
};

namespace avx2 {
extern const ElementwiseKernels elementwise_kernels;
}
namespace avx512 {
extern const ElementwiseKernels elementwise_kernels;
}

}  // namespace tamias
