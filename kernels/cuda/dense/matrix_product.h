// out = x W^T by cuBLASLt, or a batch of them with one W. Plans are made once a shape.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>

namespace tamias {

class Device;

struct MatrixProduct {
  int64_t rows, columns, depth;
  const void* x;  // rows of `dtype`; steps are in elements, at least the length of a row
  int64_t x_step;
  const void* weight;  // rows of `dtype`
  int64_t weight_step;
  void* out;
  int64_t out_step;
  bool x_transposed = false;       // x is given as rows [depth, rows]
  bool weight_transposed = false;  // weight is given as rows [depth, columns]
  int64_t count = 1;               // of the batch; x and out at these distances, in elements
  int64_t x_distance = 0, out_distance = 0;
  int32_t dtype, out_dtype;  // BF16 or F32; F32 gives F32
  uint32_t x_alignment, weight_alignment, out_alignment;  // of the addresses, in bytes
  bool accumulate;
  // Epilogue.
  const void* bias;  // null: none; of out_dtype, contiguous, 16-byte aligned
  bool gelu_tanh;
};

// The largest power of 2, up to 256, that divides the number.
constexpr uint32_t alignment_of(uint64_t address) {
  uint32_t alignment = 256;
  while (address % alignment != 0) alignment /= 2;
  return alignment;
}

class ProductPlan {
 public:
  virtual ~ProductPlan() = default;
  virtual size_t workspace_bytes() const = 0;
  // `product` is like the one the plan was made for: only addresses differ.
  virtual void run(const MatrixProduct& product, cudaStream_t stream, char* workspace) const = 0;
};

// Null where cuBLASLt has no algorithm. Fails with TAMIAS_UNSUPPORTED where cuBLASLt is not installed.
std::shared_ptr<const ProductPlan> plan_product(const Device& device, const MatrixProduct& product);

}  // namespace tamias
