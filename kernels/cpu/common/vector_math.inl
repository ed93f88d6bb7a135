// Functions of vectors, the same for every instruction set; included by vector_avx2.h and vector_avx512.h. The
// polynomials are minimax fits of the relative error. NaN in, NaN out.

namespace tamias::TAMIAS_ISA {

// Relative error below 1.5e-7, infinity above 88.73. Results below 1.2e-38 are 0: subnormals would cost hundreds of
// cycles each, and the tails of softmax and GELU are full of them.
TAMIAS_INLINE Vec exp(Vec given) {
  const Vec lowest = set(-87.33654f);
  const Vec x = max(lowest, min(set(100.0f), given));
  const Vec power = round(x * set(1.44269504f));
  Vec r = fnma(power, set(0.693145752f), x);  // ln 2 in two parts; the first has few bits, so the product is exact
  r = fnma(power, set(1.42860677e-6f), r);
  Vec p = set(1.381453789e-3f);
  p = fma(p, r, set(8.368745320e-3f));
  p = fma(p, r, set(4.166839083e-2f));
  p = fma(p, r, set(1.666652040e-1f));
  p = fma(p, r, set(4.999999343e-1f));
  p = fma(p, r * r, r) + set(1.0f);
  return select(less(given, lowest), zero(), scale_by_power_of_2(p, power));
}

TAMIAS_INLINE Vec sigmoid(Vec x) { return set(1.0f) / (set(1.0f) + exp(zero() - x)); }

TAMIAS_INLINE Vec tanh(Vec x) {
  const Vec magnitude = abs(x);
  const Vec t = x * x;
  Vec p = set(-5.528624608e-3f);
  p = fma(p, t, set(2.048330654e-2f));
  p = fma(p, t, set(-5.369296452e-2f));
  p = fma(p, t, set(1.333089971e-1f));
  p = fma(p, t, set(-3.333326288e-1f));
  const Vec near = fma(x * t, p, x);
  const Vec far = set(1.0f) - set(2.0f) / (exp(magnitude + magnitude) + set(1.0f));
  return select(less(magnitude, set(0.65f)), near, copy_sign(far, x));
}

// erf(z) for |z| < 1.
TAMIAS_INLINE Vec erf_near(Vec z) {
  const Vec t = z * z;
  Vec p = set(7.853857725e-5f);
  p = fma(p, t, set(-8.010192525e-4f));
  p = fma(p, t, set(5.188327560e-3f));
  p = fma(p, t, set(-2.685381187e-2f));
  p = fma(p, t, set(1.128358515e-1f));
  p = fma(p, t, set(-3.761262582e-1f));
  p = fma(p, t, set(1.128379166f));
  return z * p;
}

// 1 - erf(z) for z >= 1, to a small relative error: exp(-z^2) times a polynomial in 1 / (z + 2). z^2 comes in two
// parts, because its rounding error is magnified by the exponential.
TAMIAS_INLINE Vec erfc_far(Vec z, Vec square, Vec rounding) {
  const Vec t = set(1.0f) / (z + set(2.0f));
  Vec p = set(2.400379852e+1f);
  p = fma(p, t, set(-2.906439560e+1f));
  p = fma(p, t, set(5.340754657f));
  p = fma(p, t, set(1.930910970f));
  p = fma(p, t, set(2.864650682f));
  p = fma(p, t, set(1.975231677f));
  p = fma(p, t, set(1.128188085f));
  p = fma(p, t, set(5.641960488e-1f));
  const Vec tail = exp(zero() - square) * (p * t);
  return fnma(tail, rounding, tail);
}

TAMIAS_INLINE Vec erf(Vec x) {
  const Vec magnitude = abs(x);
  const Vec z = min(set(11.0f), magnitude);
  const Vec square = z * z;
  const Vec far = set(1.0f) - erfc_far(z, square, fms(z, z, square));
  return select(less(magnitude, set(1.0f)), erf_near(x), copy_sign(far, x));
}

TAMIAS_INLINE Vec silu(Vec x) { return x / (set(1.0f) + exp(zero() - x)); }

TAMIAS_INLINE Vec quick_gelu(Vec x) { return x / (set(1.0f) + exp(x * set(-1.702f))); }

// x / 2 (1 + tanh u) = x / (1 + exp(-2 u)) does not cancel where tanh u is near -1.
TAMIAS_INLINE Vec gelu_tanh(Vec x) {
  const Vec u = x * fma(x * x, set(0.0356774081f), set(0.797884561f));
  return x / (set(1.0f) + exp(u * set(-2.0f)));
}

TAMIAS_INLINE Vec gelu_erf(Vec x) {
  const Vec z = x * set(0.707106781f);
  const Vec half = x * set(0.5f);
  const Vec near = fma(half, erf_near(z), half);
  const Vec bounded = max(set(-16.0f), min(set(16.0f), x));
  const Vec bounded_half = bounded * set(0.5f);
  const Vec square = bounded_half * bounded;
  const Vec rounding = fms(bounded_half, bounded, square);
  const Vec rest = bounded_half * erfc_far(abs(bounded * set(0.707106781f)), square, rounding);
  // Left of 0 the rest is all there is; right of 0 it is what lacks to x.
  const Vec far = select(less(z, zero()), rest, x - rest);
  return select(less(abs(z), set(1.0f)), near, far);
}

// As enum tamias_activation. The constant must be known where it is compiled in: kernels are templates over it.
template <int activation>
TAMIAS_INLINE Vec activate(Vec x) {
  if constexpr (activation == 1) return silu(x);
  if constexpr (activation == 2) return gelu_tanh(x);
  if constexpr (activation == 3) return gelu_erf(x);
  if constexpr (activation == 4) return quick_gelu(x);
  return x;
}

// body(Constant<activation>{}), so that the loop inside has no branch.
template <int value>
struct Constant {
  static constexpr int kValue = value;
};
template <class Body>
TAMIAS_INLINE void with_activation(int activation, Body body) {
  switch (activation) {
    case 1: return body(Constant<1>{});
    case 2: return body(Constant<2>{});
    case 3: return body(Constant<3>{});
    case 4: return body(Constant<4>{});
    default: return body(Constant<0>{});
  }
}

}  // namespace tamias::TAMIAS_ISA
