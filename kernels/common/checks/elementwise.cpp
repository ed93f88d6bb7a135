#include "elementwise.h"

namespace tamias {

ActivateArguments::ActivateArguments(const Op& op, int32_t activation, const tamias_tensor* x_tensor,
                                     const tamias_tensor* out_tensor)
    : activation(activation) {
  Op::activation(activation);
  x = op.input("x", x_tensor, kActivations);
  out = op.output("out", out_tensor, kActivations);
  op.same_shape(out, x);
  op.apart_or_same(out, {x});
}

PairArguments::PairArguments(const Op& op, const tamias_tensor* a_tensor, const tamias_tensor* b_tensor,
                             const tamias_tensor* out_tensor) {
  a = op.input("a", a_tensor, kActivations);
  b = op.input("b", b_tensor, kActivations);
  out = op.output("out", out_tensor, kActivations);
  op.same_shape(b, a);
  op.same_shape(out, a);
  op.apart_or_same(out, {a, b});
}

GateResidualArguments::GateResidualArguments(const Op& op, const tamias_tensor* residual_tensor,
                                             const tamias_tensor* gate_tensor, const tamias_tensor* x_tensor,
                                             const tamias_tensor* out_tensor) {
  residual = op.input("residual", residual_tensor, kActivations, 3, 3);
  gate = op.input("gate", gate_tensor, kActivations, 2, 2);
  x = op.input("x", x_tensor, kActivations, 3, 3);
  out = op.output("out", out_tensor, kActivations, 3, 3);
  op.same_shape(residual, x);
  op.same_shape(out, x);
  op.shape(gate, {x.size(0), x.size(2)});
  op.apart(out, {x, gate});
  op.apart_or_same(out, {residual});
}

}  // namespace tamias
