// Included by elementwise_avx2.cpp and elementwise_avx512.cpp after their vector header.
#include "elementwise_kernels.h"

namespace tamias::TAMIAS_ISA {
namespace {

// A line that is contiguous, or one element repeated.
struct Line {
  const float* data;
  bool repeats;
};

TAMIAS_INLINE Vec at(Line line, int64_t i) { return line.repeats ? set(*line.data) : load(line.data + i); }
TAMIAS_INLINE Vec at(Line line, int64_t i, Tail t) { return line.repeats ? set(*line.data) : load(line.data + i, t); }

// out[i] = of(a[i], b[i])
template <class Function>
TAMIAS_INLINE void map_line(const float* a, int64_t a_step, const float* b, int64_t b_step, float* out,
                            int64_t out_step, int64_t count, Function of) {
  if (out_step == 1 && a_step <= 1 && b_step <= 1) {
    const Line left = {a, a_step == 0};
    const Line right = {b, b_step == 0};
    int64_t i = 0;
    for (; i + kWidth <= count; i += kWidth) store(out + i, of(at(left, i), at(right, i)));
    if (i < count) {
      const Tail t = tail(count - i);
      store(out + i, of(at(left, i, t), at(right, i, t)), t);
    }
    return;
  }
  alignas(64) float lanes[2][kWidth];
  for (int64_t i = 0; i < count; i += kWidth) {
    const int64_t n = count - i < kWidth ? count - i : kWidth;
    for (int64_t j = 0; j < n; ++j) {
      lanes[0][j] = a[(i + j) * a_step];
      lanes[1][j] = b[(i + j) * b_step];
    }
    for (int64_t j = n; j < kWidth; ++j) lanes[0][j] = lanes[1][j] = 0;
    store(lanes[0], of(load(lanes[0]), load(lanes[1])));
    for (int64_t j = 0; j < n; ++j) out[(i + j) * out_step] = lanes[0][j];
  }
}

void activate_line(int activation, const float* x, int64_t x_step, float* out, int64_t out_step, int64_t count) {
  with_activation(activation, [=](auto constant) {
    map_line(x, x_step, x, x_step, out, out_step, count,
             [](Vec a, Vec) { return activate<decltype(constant)::kValue>(a); });
  });
}

void combine_line(float alpha, const float* a, int64_t a_step, float beta, const float* b, int64_t b_step, float* out,
                  int64_t out_step, int64_t count) {
  const Vec first = set(alpha);
  const Vec second = set(beta);
  map_line(a, a_step, b, b_step, out, out_step, count, [=](Vec x, Vec y) { return fma(second, y, first * x); });
}

void multiply_line(const float* a, int64_t a_step, const float* b, int64_t b_step, float* out, int64_t out_step,
                   int64_t count) {
  map_line(a, a_step, b, b_step, out, out_step, count, [](Vec x, Vec y) { return x * y; });
}

void gate_residual_line(const float* residual, const float* gate, const float* x, float* out, int64_t count) {
  int64_t i = 0;
  for (; i + kWidth <= count; i += kWidth) store(out + i, fma(load(gate + i), load(x + i), load(residual + i)));
  if (i < count) {
    const Tail t = tail(count - i);
    store(out + i, fma(load(gate + i, t), load(x + i, t), load(residual + i, t)), t);
  }
}

void bias_activate_line(int activation, const float* bias, float* out, int64_t count) {
  static const float none = 0;
  const float* added = bias ? bias : &none;
  const int64_t added_step = bias ? 1 : 0;
  with_activation(activation, [=](auto constant) {
    map_line(out, 1, added, added_step, out, 1, count,
             [](Vec a, Vec b) { return activate<decltype(constant)::kValue>(a + b); });
  });
}

}  // namespace

const ElementwiseKernels elementwise_kernels = {activate_line, combine_line, multiply_line, gate_residual_line,
                                                bias_activate_line};

}  // namespace tamias::TAMIAS_ISA
