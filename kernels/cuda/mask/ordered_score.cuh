// The order of selections: better score first, NaN last, then the lower column. As kernels/cpu/mask/select_row.cpp.
#pragma once

#include <cstdint>

namespace tamias {

constexpr int kColumnBits = 31;
constexpr uint32_t kLastColumn = (1u << kColumnBits) - 1;
constexpr uint32_t kZeroKey = 0x80000000u;  // of +0 and -0

// Unsigned integers in the order of the scores; NaN is lowest.
__device__ __forceinline__ uint32_t key_of(float score) {
  const uint32_t bits = __float_as_uint(score + 0.0f);  // -0 becomes +0
  const uint32_t key = bits ^ (static_cast<uint32_t>(static_cast<int32_t>(bits) >> 31) | 0x80000000u);
  return score == score ? key : 0;
}

__device__ __forceinline__ float score_of(uint32_t key) {
  return __uint_as_float(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}

// One number for the whole order, different for every column of a row: the greater goes first.
__device__ __forceinline__ uint64_t place_of(uint32_t key, uint32_t column) {
  return static_cast<uint64_t>(key) << kColumnBits | (kLastColumn - column);
}
__device__ __forceinline__ uint32_t key_at(uint64_t place) { return static_cast<uint32_t>(place >> kColumnBits); }
__device__ __forceinline__ uint32_t column_at(uint64_t place) {
  return kLastColumn - (static_cast<uint32_t>(place) & kLastColumn);
}

}  // namespace tamias
