// activate, combine, multiply, gate_residual.
#include "../common/activation.cuh"
#include "common/checks/elementwise.h"
#include "map.cuh"

using namespace tamias;

namespace {

struct Activate {
  int32_t activation;
  __device__ float operator()(const float (&x)[1]) const {
    float result;
    with_activation(activation, [&](auto constant) { result = activate<decltype(constant)::kValue>(x[0]); });
    return result;
  }
};

struct Combine {
  float alpha, beta;
  __device__ float operator()(const float (&x)[2]) const { return fmaf(beta, x[1], alpha * x[0]); }
};

struct Multiply {
  __device__ float operator()(const float (&x)[2]) const { return x[0] * x[1]; }
};

struct GateResidual {
  __device__ float operator()(const float (&x)[3]) const { return fmaf(x[1], x[2], x[0]); }
};

// The same gate for every token: [batch, d] as [batch, tokens, d].
View for_each_token(const View& gates, int64_t tokens) {
  View repeated = gates;
  repeated.rank = 3;
  repeated.shape[1] = tokens;
  repeated.shape[2] = gates.shape[1];
  repeated.stride[1] = 0;
  repeated.stride[2] = gates.stride[1];
  return repeated;
}

}  // namespace

extern "C" int32_t tamias_activate(uint64_t stream, int32_t activation, const tamias_tensor* x,
                                   const tamias_tensor* out) {
  return run_op("activate", stream, [&](Op& op) {
    const ActivateArguments arguments(op, activation, x, out);
    if (arguments.out.empty()) return;
    op.submit([=](const Run& run) { map(run, Activate{arguments.activation}, {arguments.out, arguments.x}); });
  });
}

extern "C" int32_t tamias_combine(uint64_t stream, float alpha, const tamias_tensor* a, float beta,
                                  const tamias_tensor* b, const tamias_tensor* out) {
  return run_op("combine", stream, [&](Op& op) {
    const PairArguments arguments(op, a, b, out);
    if (arguments.out.empty()) return;
    op.submit([=](const Run& run) {
      map(run, Combine{alpha, beta}, {arguments.out, arguments.a, arguments.b});
    });
  });
}

extern "C" int32_t tamias_multiply(uint64_t stream, const tamias_tensor* a, const tamias_tensor* b,
                                   const tamias_tensor* out) {
  return run_op("multiply", stream, [&](Op& op) {
    const PairArguments arguments(op, a, b, out);
    if (arguments.out.empty()) return;
    op.submit([=](const Run& run) { map(run, Multiply(), {arguments.out, arguments.a, arguments.b}); });
  });
}

extern "C" int32_t tamias_gate_residual(uint64_t stream, const tamias_tensor* residual, const tamias_tensor* gate,
                                        const tamias_tensor* x, const tamias_tensor* out) {
  return run_op("gate_residual", stream, [&](Op& op) {
    const GateResidualArguments arguments(op, residual, gate, x, out);
    if (arguments.out.empty()) return;
    op.submit([=](const Run& run) {
      const View gates = for_each_token(arguments.gate, arguments.x.size(1));
      map(run, GateResidual(), {arguments.out, arguments.residual, gates, arguments.x});
    });
  });
}
