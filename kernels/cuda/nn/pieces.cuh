// Activations and parameters whose dtype, F32 or BF16, is known when the kernel runs. All threads take the same branch
// on it, which costs nothing beside the memory's time.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "common/view.h"

namespace tamias {

constexpr int kPiece = 8;  // neighbouring elements that a thread moves at a time

// Whether every row is made of whole pieces at addresses that suit them. True of an absent view.
inline bool rows_have_pieces(const View& view) {
  if (!view) return true;
  constexpr uint64_t kBytes = 16;
  if (view.size(-1) % kPiece != 0 || view.step(-1) != 1) return false;
  if (reinterpret_cast<uint64_t>(view.data) % kBytes != 0) return false;
  for (int axis = 0; axis + 1 < view.rank; ++axis) {
    if (view.shape[axis] > 1 && view.stride[axis] * dtype_size(view.dtype) % kBytes != 0) return false;
  }
  return true;
}

// As they lie in memory: 16 bytes of BF16, 32 of F32. Kept so until all loads are under way.
struct RawPiece {
  uint4 low, high;
};

__device__ __forceinline__ RawPiece load_piece(const void* data, int32_t dtype, int64_t offset) {
  RawPiece piece;
  if (dtype == TAMIAS_BF16) {
    piece.low = *reinterpret_cast<const uint4*>(static_cast<const __nv_bfloat16*>(data) + offset);
    piece.high = piece.low;
  } else {
    const uint4* from = reinterpret_cast<const uint4*>(static_cast<const float*>(data) + offset);
    piece.low = from[0];
    piece.high = from[1];
  }
  return piece;
}

__device__ __forceinline__ void unpack_piece(const RawPiece& piece, int32_t dtype, float (&values)[kPiece]) {
  const uint32_t words[8] = {piece.low.x,  piece.low.y,  piece.low.z,  piece.low.w,
                             piece.high.x, piece.high.y, piece.high.z, piece.high.w};
  if (dtype == TAMIAS_BF16) {
#pragma unroll
    for (int i = 0; i < kPiece; ++i) {
      values[i] = __uint_as_float(i % 2 ? words[i / 2] & 0xffff0000u : words[i / 2] << 16);
    }
  } else {
#pragma unroll
    for (int i = 0; i < kPiece; ++i) values[i] = __uint_as_float(words[i]);
  }
}

__device__ __forceinline__ uint32_t two_bf16(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

__device__ __forceinline__ void store_piece(void* data, int32_t dtype, int64_t offset, const float (&v)[kPiece]) {
  if (dtype == TAMIAS_BF16) {
    *reinterpret_cast<uint4*>(static_cast<__nv_bfloat16*>(data) + offset) =
        make_uint4(two_bf16(v[0], v[1]), two_bf16(v[2], v[3]), two_bf16(v[4], v[5]), two_bf16(v[6], v[7]));
  } else {
    float4* to = reinterpret_cast<float4*>(static_cast<float*>(data) + offset);
    to[0] = make_float4(v[0], v[1], v[2], v[3]);
    to[1] = make_float4(v[4], v[5], v[6], v[7]);
  }
}

__device__ __forceinline__ float load_element(const void* data, int32_t dtype, int64_t offset) {
  if (dtype == TAMIAS_BF16) return __bfloat162float(static_cast<const __nv_bfloat16*>(data)[offset]);
  return static_cast<const float*>(data)[offset];
}

__device__ __forceinline__ void store_element(void* data, int32_t dtype, int64_t offset, float value) {
  if (dtype == TAMIAS_BF16) {
    static_cast<__nv_bfloat16*>(data)[offset] = __float2bfloat16_rn(value);
  } else {
    static_cast<float*>(data)[offset] = value;
  }
}

}  // namespace tamias
