#pragma once

#include "../../include/tamias.h"

namespace tamias {

__device__ __forceinline__ float sigmoid(float x) { return __fdividef(1.0f, 1.0f + __expf(-x)); }

template <int kActivation>
__device__ __forceinline__ float activate(float x) {
  switch (kActivation) {
    case TAMIAS_SILU: return x * sigmoid(x);
    // 0.5 (1 + tanh u) is sigmoid(2 u).
    case TAMIAS_GELU_TANH: return x * sigmoid(1.59576912f * x * fmaf(0.044715f * x, x, 1.0f));
    case TAMIAS_GELU_ERF: return 0.5f * x * (1.0f + erff(0.707106781f * x));
    case TAMIAS_QUICK_GELU: return x * sigmoid(1.702f * x);
    default: return x;
  }
}

template <int kActivation>
struct ActivationConstant {
  static constexpr int kValue = kActivation;
};

// Calls body(constant), with the activation as decltype(constant)::kValue.
template <class Body>
__device__ __forceinline__ void with_activation(int activation, const Body& body) {
  switch (activation) {
    case TAMIAS_SILU: return body(ActivationConstant<TAMIAS_SILU>());
    case TAMIAS_GELU_TANH: return body(ActivationConstant<TAMIAS_GELU_TANH>());
    case TAMIAS_GELU_ERF: return body(ActivationConstant<TAMIAS_GELU_ERF>());
    case TAMIAS_QUICK_GELU: return body(ActivationConstant<TAMIAS_QUICK_GELU>());
    default: return body(ActivationConstant<TAMIAS_IDENTITY>());
  }
}

}  // namespace tamias
