// The order of selections: always columns first, then the better score, NaN last, then the lower column.
#pragma once

#include <cstdint>

namespace tamias {

// Unsigned integers in the order of the scores.
constexpr uint32_t kNoKey = 0;  // of no column
constexpr uint32_t kNanKey = 1;
constexpr uint32_t kZeroKey = 0x80000000u;     // of +0 and -0
constexpr uint32_t kHighestKey = 0xff800000u;  // of infinity
constexpr uint32_t kAlwaysKey = 0xffffffffu;   // of a column that is chosen whatever its score

__device__ __forceinline__ uint32_t key_of(float score) {
  const uint32_t bits = __float_as_uint(score + 0.0f);  // -0 becomes +0
  const uint32_t key = bits ^ (static_cast<uint32_t>(static_cast<int32_t>(bits) >> 31) | 0x80000000u);
  return score == score ? key : kNanKey;
}

// NaN for the keys of no score.
__device__ __forceinline__ float score_of(uint32_t key) {
  const uint32_t bits = key & 0x80000000u ? key & 0x7fffffffu : ~key;
  return __uint_as_float(key == kAlwaysKey ? 0x7fffffffu : bits);
}

// Takes the columns of better scores, and those of this score up to `column`.
struct Cut {
  uint32_t key;
  uint32_t column;

  __device__ __forceinline__ bool takes(uint32_t other_column, uint32_t other_key) const {
    return (other_key > key) | ((other_key == key) & (other_column <= column));  // no branches
  }
};

constexpr uint32_t kLastColumn = 0x7fffffffu;

__device__ constexpr Cut cut_before_all() { return {kAlwaysKey, 0}; }
__device__ constexpr Cut cut_after_always() { return {kAlwaysKey, kLastColumn}; }
__device__ constexpr Cut cut_after_all() { return {kNanKey, kLastColumn}; }

}  // namespace tamias
