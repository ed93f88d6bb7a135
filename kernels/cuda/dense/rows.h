// Passes over rows before and after a product.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "../common/launch.h"
#include "common/view.h"

namespace tamias {

// An optional [n] parameter.
struct Parameter {
  const void* data = nullptr;  // null: none
  bool is_bf16 = false;
  int64_t stride = 1;

  Parameter() = default;
  explicit Parameter(const View& view)
      : data(view.data), is_bf16(view.dtype == TAMIAS_BF16), stride(view ? view.stride[0] : 1) {}
};

// Rows at regular distances.
struct Matrix {
  void* data;
  int32_t dtype;  // BF16 or F32
  int64_t step;   // elements from row to row
};

// What is done to a product before it is stored.
struct Finish {
  Parameter bias;
  int32_t activation;
  bool accumulate;  // adds to what is there
};

// out = in, converted.
cudaError_t pack_rows(const Matrix& in, const Matrix& out, int64_t rows, int64_t columns, const Launch& launch);

// out (+)= activation(in + bias); `in` may be `out`.
cudaError_t finish_rows(const Matrix& in, const Matrix& out, int64_t rows, int64_t columns, const Finish& finish,
                        const Launch& launch);

// The whole layer: for one row of x, where the weight is not transposed, at the speed the weight can be read, and right
// for any shape and alignment. A transposed weight is given as rows [depth, columns].
cudaError_t multiply_rows(const Matrix& x, const Matrix& weight, bool weight_transposed, const Matrix& out,
                          int64_t rows, int64_t columns, int64_t depth, const Finish& finish, const Launch& launch);

}  // namespace tamias
