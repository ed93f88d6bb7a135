// Elements of activations and weights, as the fp32 numbers that all arithmetic is done in.
#pragma once

#include <cuda_bf16.h>

namespace tamias {

__device__ __forceinline__ float to_float(float value) { return value; }
__device__ __forceinline__ float to_float(__nv_bfloat16 value) { return __bfloat162float(value); }

template <class T>
__device__ __forceinline__ T from_float(float value) {
  if constexpr (sizeof(T) == 2) {
    return __float2bfloat16_rn(value);
  } else {
    return value;
  }
}

}  // namespace tamias
