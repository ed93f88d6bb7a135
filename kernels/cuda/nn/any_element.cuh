// Elements of any floating dtype, which is known when the kernel runs.
#pragma once

#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include "pieces.cuh"

namespace tamias {

__device__ __forceinline__ float any_to_float(const void* data, int32_t dtype, int64_t offset) {
  switch (dtype) {
    case TAMIAS_F16: return __half2float(static_cast<const __half*>(data)[offset]);
    case TAMIAS_F8_E4M3: return static_cast<float>(static_cast<const __nv_fp8_e4m3*>(data)[offset]);
    default: return load_element(data, dtype, offset);
  }
}

__device__ __forceinline__ void any_from_float(void* data, int32_t dtype, int64_t offset, float value) {
  switch (dtype) {
    case TAMIAS_F16: static_cast<__half*>(data)[offset] = __float2half_rn(value); break;
    case TAMIAS_F8_E4M3: static_cast<__nv_fp8_e4m3*>(data)[offset] = __nv_fp8_e4m3(value); break;
    default: store_element(data, dtype, offset, value);
  }
}

}  // namespace tamias
