// Included by norm_avx2.cpp and norm_avx512.cpp after their vector header.
#include "norm_kernels.h"

namespace tamias::TAMIAS_ISA {
namespace {

// Adds of(xs...) of a stretch that is short enough for F32 sums.
template <class Function, class... Lines>
TAMIAS_INLINE float sum_stretch(int64_t begin, int64_t end, Function of, Lines... xs) {
  Vec sums[4] = {zero(), zero(), zero(), zero()};
  int64_t i = begin;
  for (; i + 4 * kWidth <= end; i += 4 * kWidth) {
    for (int k = 0; k < 4; ++k) sums[k] = sums[k] + of(load(xs + i + k * kWidth)...);
  }
  for (; i + kWidth <= end; i += kWidth) sums[0] = sums[0] + of(load(xs + i)...);
  if (i < end) {
    const Tail t = tail(end - i);
    sums[1] = sums[1] + keep(of(load(xs + i, t)...), t);
  }
  return sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

// xs: const float*, `count` elements each.
template <class Function, class... Lines>
TAMIAS_INLINE double sum_all(int64_t count, Function of, Lines... xs) {
  constexpr int64_t kStretch = 4096;
  double total = 0;
  for (int64_t i = 0; i < count; i += kStretch) {
    total += sum_stretch(i, count - i < kStretch ? count : i + kStretch, of, xs...);
  }
  return total;
}

double sum_line(const float* x, int64_t count) {
  return sum_all(count, [](Vec v) { return v; }, x);
}

double sum_of_squares_line(const float* x, float mean, int64_t count) {
  const Vec center = set(mean);
  return sum_all(
      count,
      [=](Vec v) {
        const Vec distance = v - center;
        return distance * distance;
      },
      x);
}

double sum_of_magnitudes_line(const float* x, int64_t count) {
  return sum_all(count, [](Vec v) { return abs(v); }, x);
}

double sum_of_distances_line(const float* a, const float* b, int64_t count) {
  return sum_all(count, [](Vec v, Vec w) { return abs(v - w); }, a, b);
}

float inverse_root(double x) { return float(1.0 / __builtin_sqrt(x)); }

// Calls body(i, load, store) for each vector of a row, the last one cut to its tail.
template <class Body>
TAMIAS_INLINE void for_each_vector(int64_t count, Body body) {
  int64_t i = 0;
  for (; i + kWidth <= count; i += kWidth) {
    body([=](const float* p) __attribute__((always_inline)) { return load(p + i); },
         [=](float* p, Vec x) __attribute__((always_inline)) { store(p + i, x); });
  }
  if (i < count) {
    const Tail t = tail(count - i);
    body([=](const float* p) __attribute__((always_inline)) { return load(p + i, t); },
         [=](float* p, Vec x) __attribute__((always_inline)) { store(p + i, x, t); });
  }
}

void layer_norm_row(const float* x, const float* weight, const float* bias, const float* scale, const float* shift,
                    float epsilon, float* out, int64_t d) {
  const float mean = float(sum_line(x, d) / double(d));
  const float factor = inverse_root(sum_of_squares_line(x, mean, d) / double(d) + double(epsilon));
  const Vec center = set(mean);
  const Vec spread = set(factor);
  for_each_vector(d, [=](auto get, auto put) {
    Vec y = (get(x) - center) * spread;
    if (weight) y = y * get(weight);
    if (bias) y = y + get(bias);
    if (scale) y = fma(y, get(scale), y);
    if (shift) y = y + get(shift);
    put(out, y);
  });
}

float rms_factor_row(const float* x, float epsilon, int64_t d) {
  return inverse_root(sum_of_squares_line(x, 0.0f, d) / double(d) + double(epsilon));
}

void rms_norm_row(const float* x, const float* weight, float epsilon, float* out, int64_t d) {
  const Vec factor = set(rms_factor_row(x, epsilon, d));
  for_each_vector(d, [=](auto get, auto put) {
    const Vec y = get(x) * factor;
    put(out, weight ? y * get(weight) : y);
  });
}

// Rotates (x[2i], x[2i+1]); each vector of pairs is read whole before it is written.
TAMIAS_INLINE void rope_pairs(const float* x, Vec factor, const float* weight, const float* cos, const float* sin,
                              float* out, int64_t head_dim) {
  int64_t i = 0;
  for (; i + 2 * kWidth <= head_dim; i += 2 * kWidth) {
    Vec a = load(x + i) * factor;
    Vec b = load(x + i + kWidth) * factor;
    if (weight) {
      a = a * load(weight + i);
      b = b * load(weight + i + kWidth);
    }
    Vec even, odd;
    split_pairs(a, b, even, odd);
    const Vec c = load(cos + i / 2);
    const Vec s = load(sin + i / 2);
    join_pairs(fnma(odd, s, even * c), fma(even, s, odd * c), a, b);
    store(out + i, a);
    store(out + i + kWidth, b);
  }
  if (i == head_dim) return;
  alignas(64) float lane[1];
  store(lane, factor, tail(1));
  for (; i < head_dim; i += 2) {
    float even = x[i] * lane[0];
    float odd = x[i + 1] * lane[0];
    if (weight) {
      even *= weight[i];
      odd *= weight[i + 1];
    }
    const float c = cos[i / 2];
    const float s = sin[i / 2];
    out[i] = even * c - odd * s;
    out[i + 1] = even * s + odd * c;
  }
}

// Rotates (x[i], x[i + head_dim / 2]).
TAMIAS_INLINE void rope_halves(const float* x, Vec factor, const float* weight, const float* cos, const float* sin,
                               float* out, int64_t head_dim) {
  const int64_t half = head_dim / 2;
  for_each_vector(half, [=](auto get, auto put) {
    Vec a = get(x) * factor;
    Vec b = get(x + half) * factor;
    if (weight) {
      a = a * get(weight);
      b = b * get(weight + half);
    }
    const Vec c = get(cos);
    const Vec s = get(sin);
    put(out, fnma(b, s, a * c));
    put(out + half, fma(a, s, b * c));
  });
}

void rope_row(const float* x, float factor, const float* weight, const float* cos, const float* sin, bool halves,
              float* out, int64_t head_dim) {
  if (halves) {
    rope_halves(x, set(factor), weight, cos, sin, out, head_dim);
  } else {
    rope_pairs(x, set(factor), weight, cos, sin, out, head_dim);
  }
}

void scale_shift_line(const float* x, float scale, float shift, int activation, float* out, int64_t count) {
  const Vec a = set(scale);
  const Vec b = set(shift);
  with_activation(activation, [=](auto constant) {
    for_each_vector(count, [=](auto get, auto put) {
      put(out, activate<decltype(constant)::kValue>(fma(get(x), a, b)));
    });
  });
}

void add_line(const float* x, float* sums, int64_t count) {
  for_each_vector(count, [=](auto get, auto put) { put(sums, get(sums) + get(x)); });
}

void scale_line(float factor, float* x, int64_t count) {
  const Vec a = set(factor);
  for_each_vector(count, [=](auto get, auto put) { put(x, get(x) * a); });
}

}  // namespace

const NormKernels norm_kernels = {
    layer_norm_row,      rms_norm_row,           rope_row,              rms_factor_row, sum_line,
    sum_of_squares_line, sum_of_magnitudes_line, sum_of_distances_line, scale_shift_line, add_line,
    scale_line};

}  // namespace tamias::TAMIAS_ISA
