#pragma once

#include "common/op.h"

namespace tamias {

// On CUDA x, weight and out may each be BF16 or F32.
struct LinearArguments {
  View x, weight, out;
  View bias;  // optional
  int32_t activation;
  bool accumulate;
  int64_t columns, depth;  // the weight's
  // Its elements lie in rows that are `weight_step` apart: a row a column of out or, transposed, a row of the depth.
  bool weight_transposed;
  int64_t weight_step;

  LinearArguments(const Op& op, const tamias_tensor* x, const tamias_tensor* weight, const tamias_tensor* bias,
                  int32_t activation, int32_t accumulate, const tamias_tensor* out);
};

// Products of matrices whose rows are at regular distances (in elements): as few as the strides allow.
struct Batches {
  int64_t count, rows;  // products, and rows of each
  int64_t x_batch, x_step;
  int64_t out_batch, out_step;

  Batches(const View& x, const View& out);
};

}  // namespace tamias
