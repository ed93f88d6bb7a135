// A layer of one row is as fast as its weight can be read; from two rows on cuBLASLt is as fast. A block has kColumns
// rows of the weight, its warps share the depth; each piece of x that a lane loads serves all of the block's columns.
#include <algorithm>

#include "finish.cuh"
#include "rows.h"

namespace tamias {
namespace {

constexpr int kWarps = 4;
constexpr int kColumns = 4;

template <class T, int kPack>
__device__ __forceinline__ void load(const T* from, float (&to)[kPack]) {
  struct alignas(sizeof(T) * kPack > 16 ? 16 : sizeof(T) * kPack) Pack {
    T value[kPack];
  };
  const Pack pack = *reinterpret_cast<const Pack*>(from);
#pragma unroll
  for (int k = 0; k < kPack; ++k) to[k] = to_float(pack.value[k]);
}

// kPack elements of the depth a lane: 8 where rows of x and weight are 16-byte aligned and the depth allows, else 1.
template <class X, class W, int kRows, int kPack>
__global__ void __launch_bounds__(kWarps * 32)
    rows_kernel(const X* x, int64_t x_step, const W* weight, int64_t weight_step, void* out, bool out_bf16,
                    int64_t out_step, int64_t rows, int64_t columns, int64_t depth, Finish finish) {
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
#pragma unroll 2
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
  total = activate_any(finish.activation, total);
  const int64_t place = row * out_step + column;
  if (out_bf16) {
    auto* to = static_cast<__nv_bfloat16*>(out) + place;
    *to = __float2bfloat16_rn(finish.accumulate ? total + __bfloat162float(*to) : total);
  } else {
    float* to = static_cast<float*>(out) + place;
    *to = finish.accumulate ? total + *to : total;
  }
}

bool aligned(const Matrix& matrix, int64_t rows) {
  const int64_t size = matrix.dtype == TAMIAS_BF16 ? 2 : 4;
  return reinterpret_cast<uintptr_t>(matrix.data) % 16 == 0 && (rows == 1 || matrix.step * size % 16 == 0);
}

template <class X, class W, int kRows, int kPack>
cudaError_t launch_typed(const Matrix& x, const Matrix& weight, const Matrix& out, int64_t rows, int64_t columns,
                         int64_t depth, const Finish& finish, const Launch& launch) {
  const int64_t row_blocks = (rows + kRows - 1) / kRows;
  const auto column_blocks = static_cast<unsigned>((columns + kColumns - 1) / kColumns);
  constexpr int64_t kMostBlocks = 65535;  // of a grid's second dimension
  for (int64_t first = 0; first < row_blocks; first += kMostBlocks) {
    const int64_t skipped = first * kRows;
    const dim3 grid(column_blocks, static_cast<unsigned>(std::min(kMostBlocks, row_blocks - first)));
    char* to = static_cast<char*>(out.data) + skipped * out.step * (out.dtype == TAMIAS_BF16 ? 2 : 4);
    rows_kernel<X, W, kRows, kPack><<<grid, kWarps * 32, 0, launch.stream>>>(
        static_cast<const X*>(x.data) + skipped * x.step, x.step, static_cast<const W*>(weight.data), weight.step, to,
        out.dtype == TAMIAS_BF16, out.step, rows - skipped, columns, depth, finish);
  }
  return cudaGetLastError();
}

template <class X, class W>
cudaError_t launch_rows(const Matrix& x, const Matrix& weight, const Matrix& out, int64_t rows, int64_t columns,
                        int64_t depth, const Finish& finish, const Launch& launch) {
  const bool packed = rows == 1 && depth % 8 == 0 && aligned(x, rows) && aligned(weight, columns);
  return packed ? launch_typed<X, W, 1, 8>(x, weight, out, rows, columns, depth, finish, launch)
                : launch_typed<X, W, 4, 1>(x, weight, out, rows, columns, depth, finish, launch);
}

}  // namespace

cudaError_t multiply_rows(const Matrix& x, const Matrix& weight, const Matrix& out, int64_t rows, int64_t columns,
                              int64_t depth, const Finish& finish, const Launch& launch) {
  const bool x_bf16 = x.dtype == TAMIAS_BF16;
  const bool weight_bf16 = weight.dtype == TAMIAS_BF16;
  const auto launch_of = x_bf16 ? (weight_bf16 ? launch_rows<__nv_bfloat16, __nv_bfloat16>
                                               : launch_rows<__nv_bfloat16, float>)
                                : (weight_bf16 ? launch_rows<float, __nv_bfloat16> : launch_rows<float, float>);
  return launch_of(x, weight, out, rows, columns, depth, finish, launch);
}

}  // namespace tamias
