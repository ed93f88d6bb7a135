// The vector vocabulary on AVX2 with FMA and F16C; the same names as vector_avx512.h.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#define TAMIAS_ISA avx2
#define TAMIAS_INLINE static inline __attribute__((always_inline))

namespace tamias::TAMIAS_ISA {

constexpr int kWidth = 8;

struct Vec {
  __m256 v;
};
struct Tail {  // the first n lanes
  __m256i m;
  int n;
};
struct Cond {
  __m256 m;
};

TAMIAS_INLINE Tail tail(int64_t n) {
  const int lanes = n >= kWidth ? kWidth : int(n);
  return {_mm256_cmpgt_epi32(_mm256_set1_epi32(lanes), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)), lanes};
}

TAMIAS_INLINE Vec set(float x) { return {_mm256_set1_ps(x)}; }
TAMIAS_INLINE Vec zero() { return {_mm256_setzero_ps()}; }

TAMIAS_INLINE Vec load(const float* p) { return {_mm256_loadu_ps(p)}; }
TAMIAS_INLINE Vec load(const float* p, Tail t) { return {_mm256_maskload_ps(p, t.m)}; }  // 0 beyond the tail
TAMIAS_INLINE void store(float* p, Vec x) { _mm256_storeu_ps(p, x.v); }
TAMIAS_INLINE void store(float* p, Vec x, Tail t) { _mm256_maskstore_ps(p, t.m, x.v); }

TAMIAS_INLINE __m128i load_u16(const uint16_t* p, Tail t) {
  alignas(16) uint16_t lanes[8] = {};
  for (int i = 0; i < t.n; ++i) lanes[i] = p[i];
  return _mm_load_si128((const __m128i*)lanes);
}
TAMIAS_INLINE Vec widen_bf16(__m128i x) {
  return {_mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(x), 16))};
}
TAMIAS_INLINE Vec load_bf16(const uint16_t* p) { return widen_bf16(_mm_loadu_si128((const __m128i*)p)); }
TAMIAS_INLINE Vec load_bf16(const uint16_t* p, Tail t) { return widen_bf16(load_u16(p, t)); }
TAMIAS_INLINE Vec load_f16(const uint16_t* p) { return {_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p))}; }
TAMIAS_INLINE Vec load_f16(const uint16_t* p, Tail t) { return {_mm256_cvtph_ps(load_u16(p, t))}; }

TAMIAS_INLINE Vec operator+(Vec a, Vec b) { return {_mm256_add_ps(a.v, b.v)}; }
TAMIAS_INLINE Vec operator-(Vec a, Vec b) { return {_mm256_sub_ps(a.v, b.v)}; }
TAMIAS_INLINE Vec operator*(Vec a, Vec b) { return {_mm256_mul_ps(a.v, b.v)}; }
TAMIAS_INLINE Vec operator/(Vec a, Vec b) { return {_mm256_div_ps(a.v, b.v)}; }
TAMIAS_INLINE Vec fma(Vec a, Vec b, Vec c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }    // a * b + c
TAMIAS_INLINE Vec fms(Vec a, Vec b, Vec c) { return {_mm256_fmsub_ps(a.v, b.v, c.v)}; }    // a * b - c
TAMIAS_INLINE Vec fnma(Vec a, Vec b, Vec c) { return {_mm256_fnmadd_ps(a.v, b.v, c.v)}; }  // c - a * b
// A NaN in b is kept, one in a is dropped.
TAMIAS_INLINE Vec max(Vec a, Vec b) { return {_mm256_max_ps(a.v, b.v)}; }
TAMIAS_INLINE Vec min(Vec a, Vec b) { return {_mm256_min_ps(a.v, b.v)}; }
TAMIAS_INLINE Vec abs(Vec a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)}; }
TAMIAS_INLINE Vec copy_sign(Vec magnitude, Vec sign) {
  const __m256 bit = _mm256_set1_ps(-0.0f);
  return {_mm256_or_ps(_mm256_andnot_ps(bit, magnitude.v), _mm256_and_ps(bit, sign.v))};
}
TAMIAS_INLINE Vec sqrt(Vec a) { return {_mm256_sqrt_ps(a.v)}; }
TAMIAS_INLINE Vec round(Vec a) { return {_mm256_round_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
// In two steps, so that 2^128 times a number below 1 is right. |whole| <= 250.
TAMIAS_INLINE Vec scale_by_power_of_2(Vec a, Vec whole) {
  const __m256i power = _mm256_cvtps_epi32(whole.v);
  const __m256i half = _mm256_srai_epi32(power, 1);
  const __m256i rest = _mm256_sub_epi32(power, half);
  const __m256i bias = _mm256_set1_epi32(127);
  const __m256 first = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23));
  const __m256 second = _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23));
  return {_mm256_mul_ps(_mm256_mul_ps(a.v, first), second)};
}

TAMIAS_INLINE Cond less(Vec a, Vec b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ)}; }
TAMIAS_INLINE Vec select(Cond c, Vec yes, Vec no) { return {_mm256_blendv_ps(no.v, yes.v, c.m)}; }
TAMIAS_INLINE Vec keep(Vec a, Tail t) { return {_mm256_and_ps(a.v, _mm256_castsi256_ps(t.m))}; }  // 0 beyond the tail

TAMIAS_INLINE float sum(Vec a) {
  __m128 x = _mm_add_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  x = _mm_add_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}
TAMIAS_INLINE float maximum(Vec a) {
  __m128 x = _mm_max_ps(_mm256_castps256_ps128(a.v), _mm256_extractf128_ps(a.v, 1));
  x = _mm_max_ps(x, _mm_movehl_ps(x, x));
  return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
}

// (even, odd) lanes of the pairs in a and b, in order; and back.
TAMIAS_INLINE void split_pairs(Vec a, Vec b, Vec& even, Vec& odd) {
  const __m256d evens = _mm256_castps_pd(_mm256_shuffle_ps(a.v, b.v, 0x88));
  const __m256d odds = _mm256_castps_pd(_mm256_shuffle_ps(a.v, b.v, 0xdd));
  even = {_mm256_castpd_ps(_mm256_permute4x64_pd(evens, 0xd8))};
  odd = {_mm256_castpd_ps(_mm256_permute4x64_pd(odds, 0xd8))};
}
TAMIAS_INLINE void join_pairs(Vec even, Vec odd, Vec& a, Vec& b) {
  const __m256 low = _mm256_unpacklo_ps(even.v, odd.v);
  const __m256 high = _mm256_unpackhi_ps(even.v, odd.v);
  a = {_mm256_permute2f128_ps(low, high, 0x20)};
  b = {_mm256_permute2f128_ps(low, high, 0x31)};
}

}  // namespace tamias::TAMIAS_ISA

#include "vector_math.inl"
