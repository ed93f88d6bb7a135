#include "linear.h"

namespace tamias {

LinearArguments::LinearArguments(const Op& op, const tamias_tensor* x_tensor, const tamias_tensor* weight_tensor,
                                 const tamias_tensor* bias_tensor, int32_t activation, int32_t accumulate,
                                 const tamias_tensor* out_tensor)
    : activation(activation), accumulate(accumulate == 1) {
  x = op.input("x", x_tensor, kActivations, 2, 3);
  weight = op.input("weight", weight_tensor, kWeights, 2, 2);
  bias = op.optional_input("bias", bias_tensor, kWeights, 1, 1);
  out = op.output("out", out_tensor, kActivations, 2, 3);
  depth = x.size(-1);
  columns = weight.size(0);
  if (weight.size(1) != depth) {
    refuse("weight has shape %s, but x has %lld input features", weight.shape_text().c_str(), (long long)depth);
  }
  if (x.rank == 2) {
    op.shape(out, {x.size(0), columns});
  } else {
    op.shape(out, {x.size(0), x.size(1), columns});
  }
  op.shape(bias, {columns});
  op.rows(x);
  op.rows(out);
  weight_transposed = depth > 1 && weight.step(1) != 1;
  weight_step = weight.step(weight_transposed ? 1 : 0);
  const int64_t row = weight_transposed ? columns : depth;
  const int64_t rows = weight_transposed ? depth : columns;
  if (weight_transposed && columns > 1 && weight.step(0) != 1) {
    refuse("weight has strides [%lld, %lld], expected 1 in one of the dimensions", (long long)weight.step(0),
           (long long)weight.step(1));
  }
  if (rows > 1 && weight_step < row) {
    refuse("weight has row stride %lld, expected at least %lld", (long long)weight_step, (long long)row);
  }
  op.apart(out, {x, weight, bias});
  Op::activation(activation);
  if (accumulate != 0 && accumulate != 1) refuse("accumulate is %d, expected 0 or 1", accumulate);
  if (accumulate && activation != TAMIAS_IDENTITY) refuse("activation is %d, but accumulate needs 0", activation);
}

Batches::Batches(const View& x, const View& out) : count(1), rows(1), x_batch(0), x_step(0), out_batch(0), out_step(0) {
  if (x.rank == 2) {
    rows = x.size(0);
    x_step = x.step(0);
    out_step = out.step(0);
    return;
  }
  const bool x_joins = x.size(0) == 1 || x.step(0) == x.size(1) * x.step(1);
  const bool out_joins = out.size(0) == 1 || out.step(0) == out.size(1) * out.step(1);
  if (x_joins && out_joins) {
    rows = x.size(0) * x.size(1);
    x_step = x.step(1);
    out_step = out.step(1);
  } else if (x.size(1) == 1) {
    rows = x.size(0);
    x_step = x.step(0);
    out_step = out.step(0);
  } else {
    count = x.size(0);
    rows = x.size(1);
    x_batch = x.step(0);
    x_step = x.step(1);
    out_batch = out.step(0);
    out_step = out.step(1);
  }
}

}  // namespace tamias
