// activate, combine, multiply, gate_residual. On CUDA each tensor may be of another of the activations' dtypes.
#pragma once

#include "common/op.h"

namespace tamias {

struct ActivateArguments {
  int32_t activation;
  View x, out;

  ActivateArguments(const Op& op, int32_t activation, const tamias_tensor* x, const tamias_tensor* out);
};

// combine, multiply.
struct PairArguments {
  View a, b, out;

  PairArguments(const Op& op, const tamias_tensor* a, const tamias_tensor* b, const tamias_tensor* out);
};

struct GateResidualArguments {
  View residual, gate, x, out;

  GateResidualArguments(const Op& op, const tamias_tensor* residual, const tamias_tensor* gate,
                        const tamias_tensor* x, const tamias_tensor* out);
};

}  // namespace tamias
