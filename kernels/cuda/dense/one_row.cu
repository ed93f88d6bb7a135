// A layer of one row is as fast as its weight can be read; from two rows on cuBLASLt is as fast. A block has kColumns
// rows of the weight, its warps share the depth; each piece of x that a lane loads serves all of the block's columns.
#include <algorithm>

#include "finish.cuh"
#include "rows.h"

namespace tamias {
namespace {

constexpr int kWarps = 4;
constexpr int kColumns = 2;

template <class T, int kPack>
__device__ __forceinline__ void load(const T* from, float (&to)[kPack]) {
  struct alignas(sizeof(T) * kPack > 16 ? 16 : sizeof(T) * kPack) Pack {
    T value[kPack];
  };
  const Pack pack = *reinterpret_cast<const Pack*>(from);
#pragma unroll
  for (int k = 0; k < kPack; ++k) to[k] = to_float(pack.value[k]);
}

struct Output {
  void* data;
  bool is_bf16;
  int64_t step;
};

// `sum`: of the depth and the bias.
__device__ __forceinline__ void finish_element(float sum, const Output& out, int64_t row, int64_t column,
                                               const Finish& finish) {
  const float value = activate_any(finish.activation, sum);
  const int64_t place = row * out.step + column;
  if (out.is_bf16) {
    auto* to = static_cast<__nv_bfloat16*>(out.data) + place;
    *to = __float2bfloat16_rn(finish.accumulate ? value + __bfloat162float(*to) : value);
  } else {
    float* to = static_cast<float*>(out.data) + place;
    *to = finish.accumulate ? value + *to : value;
  }
}

// kPack elements of the depth a lane: 8 where rows of x and weight are 16-byte aligned and the depth allows, else 1.
template <class X, class W, int kRows, int kPack>
__global__ void __launch_bounds__(kWarps * 32)
    rows_kernel(const X* x, int64_t x_step, const W* weight, int64_t weight_step, const Output out, int64_t rows,
                int64_t columns, int64_t depth, const Finish finish) {
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  const int64_t first_column = int64_t{blockIdx.x} * kColumns;
  const int64_t first_row = int64_t{blockIdx.y} * kRows;
  // Past the end the last row is read again, and the result is not stored.
  const W* weight_row[kColumns];
  const X* x_row[kRows];
#pragma unroll
  for (int c = 0; c < kColumns; ++c) weight_row[c] = weight + min(first_column + c, columns - 1) * weight_step;
#pragma unroll
  for (int r = 0; r < kRows; ++r) x_row[r] = x + min(first_row + r, rows - 1) * x_step;

  float sum[kRows][kColumns] = {};
#pragma unroll 3
  for (int64_t i = int64_t{warp * 32 + lane} * kPack; i < depth; i += kWarps * 32 * kPack) {
    float w[kColumns][kPack];
#pragma unroll
    for (int c = 0; c < kColumns; ++c) load(weight_row[c] + i, w[c]);
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      float v[kPack];
      load(x_row[r] + i, v);
#pragma unroll
      for (int c = 0; c < kColumns; ++c) {
#pragma unroll
        for (int k = 0; k < kPack; ++k) sum[r][c] = fmaf(v[k], w[c][k], sum[r][c]);
      }
    }
  }

  __shared__ float parts[kWarps][kRows][kColumns];
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
#pragma unroll
    for (int c = 0; c < kColumns; ++c) {
      float total = sum[r][c];
#pragma unroll
      for (int distance = 16; distance > 0; distance /= 2) total += __shfl_xor_sync(~0u, total, distance);
      if (lane == 0) parts[warp][r][c] = total;
    }
  }
  __syncthreads();
  const int r = threadIdx.x / kColumns;
  const int64_t row = first_row + r;
  const int64_t column = first_column + threadIdx.x % kColumns;
  if (r >= kRows || row >= rows || column >= columns) return;
  float total = parameter_at(finish.bias, column);
#pragma unroll
  for (int part = 0; part < kWarps; ++part) total += parts[part][r][threadIdx.x % kColumns];
  finish_element(total, out, row, column, finish);
}

// The weight is given as rows [depth, columns]: a lane has a column, and the warps share the depth.
template <class X, class W>
__global__ void __launch_bounds__(kWarps * 32)
    transposed_kernel(const X* x, int64_t x_step, const W* weight, int64_t weight_step, const Output out, int64_t rows,
                      int64_t columns, int64_t depth, const Finish finish) {
  constexpr int kRows = kWarps;  // each warp finishes one
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  const int64_t column = int64_t{blockIdx.x} * 32 + lane;
  const int64_t first_row = int64_t{blockIdx.y} * kRows;
  // Past the end the last one is read again, and the result is not stored.
  const W* weight_column = weight + min(column, columns - 1);
  const X* x_row[kRows];
#pragma unroll
  for (int r = 0; r < kRows; ++r) x_row[r] = x + min(first_row + r, rows - 1) * x_step;

  float sum[kRows] = {};
#pragma unroll 4
  for (int64_t i = warp; i < depth; i += kWarps) {
    const float w = to_float(weight_column[i * weight_step]);
#pragma unroll
    for (int r = 0; r < kRows; ++r) sum[r] = fmaf(to_float(x_row[r][i]), w, sum[r]);
  }

  __shared__ float parts[kWarps][kRows][32];
#pragma unroll
  for (int r = 0; r < kRows; ++r) parts[warp][r][lane] = sum[r];
  __syncthreads();
  const int64_t row = first_row + warp;
  if (row >= rows || column >= columns) return;
  float total = parameter_at(finish.bias, column);
#pragma unroll
  for (int part = 0; part < kWarps; ++part) total += parts[part][warp][lane];
  finish_element(total, out, row, column, finish);
}

bool aligned(const Matrix& matrix, int64_t rows) {
  const int64_t size = matrix.dtype == TAMIAS_BF16 ? 2 : 4;
  return reinterpret_cast<uintptr_t>(matrix.data) % 16 == 0 && (rows == 1 || matrix.step * size % 16 == 0);
}

struct Layer {
  Matrix x, weight, out;
  int64_t rows, columns, depth;
  Finish finish;
};

// A block has `block_rows` rows and `block_columns` columns of out.
template <class X, class W, class Kernel>
cudaError_t launch_kernel(Kernel kernel, const Layer& layer, int64_t block_rows, int64_t block_columns,
                          const Launch& launch) {
  const int64_t row_blocks = (layer.rows + block_rows - 1) / block_rows;
  const auto column_blocks = static_cast<unsigned>((layer.columns + block_columns - 1) / block_columns);
  const bool out_bf16 = layer.out.dtype == TAMIAS_BF16;
  constexpr int64_t kMostBlocks = 65535;  // of a grid's second dimension
  for (int64_t first = 0; first < row_blocks; first += kMostBlocks) {
    const int64_t skipped = first * block_rows;
    const dim3 grid(column_blocks, static_cast<unsigned>(std::min(kMostBlocks, row_blocks - first)));
    char* to = static_cast<char*>(layer.out.data) + skipped * layer.out.step * (out_bf16 ? 2 : 4);
    kernel<<<grid, kWarps * 32, 0, launch.stream>>>(
        static_cast<const X*>(layer.x.data) + skipped * layer.x.step, layer.x.step,
        static_cast<const W*>(layer.weight.data), layer.weight.step, Output{to, out_bf16, layer.out.step},
        layer.rows - skipped, layer.columns, layer.depth, layer.finish);
  }
  return cudaGetLastError();
}

template <class X, class W>
cudaError_t launch_typed(const Layer& layer, bool weight_transposed, const Launch& launch) {
  if (weight_transposed) return launch_kernel<X, W>(transposed_kernel<X, W>, layer, kWarps, 32, launch);
  const bool packed = layer.rows == 1 && layer.depth % 8 == 0 && aligned(layer.x, layer.rows) &&
                      aligned(layer.weight, layer.columns);
  return packed ? launch_kernel<X, W>(rows_kernel<X, W, 1, 8>, layer, 1, kColumns, launch)
                : launch_kernel<X, W>(rows_kernel<X, W, 4, 1>, layer, 4, kColumns, launch);
}

}  // namespace

cudaError_t multiply_rows(const Matrix& x, const Matrix& weight, bool weight_transposed, const Matrix& out,
                          int64_t rows, int64_t columns, int64_t depth, const Finish& finish, const Launch& launch) {
  const bool x_bf16 = x.dtype == TAMIAS_BF16;
  const bool weight_bf16 = weight.dtype == TAMIAS_BF16;
  const auto launch_of = x_bf16 ? (weight_bf16 ? launch_typed<__nv_bfloat16, __nv_bfloat16>
                                               : launch_typed<__nv_bfloat16, float>)
                                : (weight_bf16 ? launch_typed<float, __nv_bfloat16> : launch_typed<float, float>);
  return launch_of({x, weight, out, rows, columns, depth, finish}, weight_transposed, launch);
}

}  // namespace tamias
