// Run-time dtypes and capabilities as compile-time ones.
#pragma once

#include <cuda_bf16.h>

#include <type_traits>

#include "common/op.h"

namespace tamias {

template <class T>
struct TypeConstant {
  using Type = T;
};

template <class T>
constexpr bool is_bf16 = std::is_same_v<T, __nv_bfloat16>;

// Calls body(TypeConstant<T>()) for the T of a dtype in kActivations or kWeights.
template <class Body>
void with_type(int32_t dtype, const Body& body) {
  if (dtype == TAMIAS_BF16) {
    body(TypeConstant<__nv_bfloat16>());
  } else {
    body(TypeConstant<float>());
  }
}

inline bool has_wgmma(const Op& op) { return op.device().capability() == 90; }

}  // namespace tamias
