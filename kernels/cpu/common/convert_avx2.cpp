#include "convert_16bit.h"
#include "vector_avx2.h"

namespace tamias::avx2 {
namespace {

// Eight F32 as BF16, to nearest even; a NaN stays one.
__m128i narrow_bf16(__m256 x) {
  const __m256i bits = _mm256_castps_si256(x);
  const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
  const __m256i rounded = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
  const __m256i nan = _mm256_or_si256(bits, _mm256_set1_epi32(0x00400000));
  const __m256i is_nan = _mm256_castps_si256(_mm256_cmp_ps(x, x, _CMP_UNORD_Q));
  const __m256i high = _mm256_srli_epi32(_mm256_blendv_epi8(rounded, nan, is_nan), 16);
  return _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
}

void store_u16(uint16_t* out, __m128i x, int64_t count) {
  alignas(16) uint16_t lanes[8];
  _mm_store_si128((__m128i*)lanes, x);
  for (int64_t i = 0; i < count; ++i) out[i] = lanes[i];
}

}  // namespace

void bf16_to_f32(const uint16_t* in, int64_t count, float* out) {
  int64_t i = 0;
  for (; i + kWidth <= count; i += kWidth) store(out + i, load_bf16(in + i));
  if (i < count) store(out + i, load_bf16(in + i, tail(count - i)), tail(count - i));
}

void f16_to_f32(const uint16_t* in, int64_t count, float* out) {
  int64_t i = 0;
  for (; i + kWidth <= count; i += kWidth) store(out + i, load_f16(in + i));
  if (i < count) store(out + i, load_f16(in + i, tail(count - i)), tail(count - i));
}

void f32_to_bf16(const float* in, int64_t count, uint16_t* out) {
  int64_t i = 0;
  for (; i + kWidth <= count; i += kWidth) _mm_storeu_si128((__m128i*)(out + i), narrow_bf16(load(in + i).v));
  if (i < count) store_u16(out + i, narrow_bf16(load(in + i, tail(count - i)).v), count - i);
}

void f32_to_f16(const float* in, int64_t count, uint16_t* out) {
  constexpr int kNearest = _MM_FROUND_TO_NEAREST_INT;
  int64_t i = 0;
  for (; i + kWidth <= count; i += kWidth) {
    _mm_storeu_si128((__m128i*)(out + i), _mm256_cvtps_ph(load(in + i).v, kNearest));
  }
  if (i < count) store_u16(out + i, _mm256_cvtps_ph(load(in + i, tail(count - i)).v, kNearest), count - i);
}

}  // namespace tamias::avx2
