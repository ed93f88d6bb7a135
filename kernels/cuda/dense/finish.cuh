#pragma once

#include "../common/activation.cuh"
#include "../common/element.cuh"
#include "rows.h"

namespace tamias {

__device__ __forceinline__ float parameter_at(const Parameter& parameter, int64_t i) {
  if (!parameter.data) return 0;
  return parameter.is_bf16 ? __bfloat162float(static_cast<const __nv_bfloat16*>(parameter.data)[i * parameter.stride])
                           : static_cast<const float*>(parameter.data)[i * parameter.stride];
}

__device__ __forceinline__ float activate_any(int32_t activation, float x) {
  float y = x;
  with_activation(activation, [&](auto constant) { y = activate<decltype(constant)::kValue>(x); });
  return y;
}

}  // namespace tamias
