// The vector vocabulary on AVX-512. vector_avx2.h has the same names: a kernel is written once, in a *_kernels.inl that
// x_avx2.cpp and x_avx512.cpp include after their header, inside `namespace tamias::TAMIAS_ISA`.
#pragma once

// GCC 12 takes the _mm512_undefined_ps() inside its own intrinsics for a mistake.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"

#include <immintrin.h>
#include <stdint.h>

#define TAMIAS_ISA avx512
#define TAMIAS_INLINE static inline __attribute__((always_inline))

namespace tamias::TAMIAS_ISA {

constexpr int kWidth = 16;

struct Vec {
  __m512 v;
};
struct Tail {  // the first n lanes
  __mmask16 m;
};
struct Cond {
  __mmask16 m;
};

TAMIAS_INLINE Tail tail(int64_t n) { return {n >= kWidth ? __mmask16(0xffff) : __mmask16((1u << n) - 1)}; }

TAMIAS_INLINE Vec set(float x) { return {_mm512_set1_ps(x)}; }
TAMIAS_INLINE Vec zero() { return {_mm512_setzero_ps()}; }

TAMIAS_INLINE Vec load(const float* p) { return {_mm512_loadu_ps(p)}; }
TAMIAS_INLINE Vec load(const float* p, Tail t) { return {_mm512_maskz_loadu_ps(t.m, p)}; }  // 0 beyond the tail
TAMIAS_INLINE void store(float* p, Vec x) { _mm512_storeu_ps(p, x.v); }
TAMIAS_INLINE void store(float* p, Vec x, Tail t) { _mm512_mask_storeu_ps(p, t.m, x.v); }

TAMIAS_INLINE Vec load_bf16(const uint16_t* p) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}
TAMIAS_INLINE Vec load_bf16(const uint16_t* p, Tail t) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(t.m, p));
  return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
}
TAMIAS_INLINE Vec load_f16(const uint16_t* p) { return {_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p))}; }
TAMIAS_INLINE Vec load_f16(const uint16_t* p, Tail t) { return {_mm512_cvtph_ps(_mm256_maskz_loadu_epi16(t.m, p))}; }

TAMIAS_INLINE Vec operator+(Vec a, Vec b) { return {_mm512_add_ps(a.v, b.v)}; }
TAMIAS_INLINE Vec operator-(Vec a, Vec b) { return {_mm512_sub_ps(a.v, b.v)}; }
TAMIAS_INLINE Vec operator*(Vec a, Vec b) { return {_mm512_mul_ps(a.v, b.v)}; }
TAMIAS_INLINE Vec operator/(Vec a, Vec b) { return {_mm512_div_ps(a.v, b.v)}; }
TAMIAS_INLINE Vec fma(Vec a, Vec b, Vec c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }    // a * b + c
TAMIAS_INLINE Vec fms(Vec a, Vec b, Vec c) { return {_mm512_fmsub_ps(a.v, b.v, c.v)}; }    // a * b - c
TAMIAS_INLINE Vec fnma(Vec a, Vec b, Vec c) { return {_mm512_fnmadd_ps(a.v, b.v, c.v)}; }  // c - a * b
// A NaN in b is kept, one in a is dropped.
TAMIAS_INLINE Vec max(Vec a, Vec b) { return {_mm512_max_ps(a.v, b.v)}; }
TAMIAS_INLINE Vec min(Vec a, Vec b) { return {_mm512_min_ps(a.v, b.v)}; }
TAMIAS_INLINE Vec abs(Vec a) { return {_mm512_abs_ps(a.v)}; }
TAMIAS_INLINE Vec copy_sign(Vec magnitude, Vec sign) {
  return {_mm512_castsi512_ps(_mm512_ternarylogic_epi32(_mm512_set1_epi32(INT32_MIN), _mm512_castps_si512(sign.v),
                                                        _mm512_castps_si512(magnitude.v), 0xca))};
}
TAMIAS_INLINE Vec sqrt(Vec a) { return {_mm512_sqrt_ps(a.v)}; }
TAMIAS_INLINE Vec round(Vec a) { return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
TAMIAS_INLINE Vec scale_by_power_of_2(Vec a, Vec whole) { return {_mm512_scalef_ps(a.v, whole.v)}; }  // |whole| <= 250

TAMIAS_INLINE Cond less(Vec a, Vec b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
TAMIAS_INLINE Vec select(Cond c, Vec yes, Vec no) { return {_mm512_mask_blend_ps(c.m, no.v, yes.v)}; }
TAMIAS_INLINE Vec keep(Vec a, Tail t) { return {_mm512_maskz_mov_ps(t.m, a.v)}; }  // 0 beyond the tail

TAMIAS_INLINE float sum(Vec a) { return _mm512_reduce_add_ps(a.v); }
TAMIAS_INLINE float maximum(Vec a) { return _mm512_reduce_max_ps(a.v); }

// (even, odd) lanes of the pairs in a and b, in order; and back.
TAMIAS_INLINE void split_pairs(Vec a, Vec b, Vec& even, Vec& odd) {
  const __m512i first = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i second = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
  even = {_mm512_permutex2var_ps(a.v, first, b.v)};
  odd = {_mm512_permutex2var_ps(a.v, second, b.v)};
}
TAMIAS_INLINE void join_pairs(Vec even, Vec odd, Vec& a, Vec& b) {
  const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
  a = {_mm512_permutex2var_ps(even.v, low, odd.v)};
  b = {_mm512_permutex2var_ps(even.v, high, odd.v)};
}

}  // namespace tamias::TAMIAS_ISA

#include "vector_math.inl"
