// A 64 x 64 tile of a matrix product in fp32 without tensor cores: 256 threads, 4 x 4 results each. Thread t owns rows
// 4 (t / 16) and columns 4 (t % 16) of the tile, and the next three of both.
#pragma once

#include <cstdint>

#include "element.cuh"

namespace tamias::plain {

constexpr int kTile = 64;
constexpr int kDepth = 32;  // summed at once
constexpr int kThreads = 256;

// One side of the product: kDepth-major, so that a thread reads its four as one vector.
struct Side {
  float at[kDepth][kTile + 4];
};

__device__ __forceinline__ int own_row() { return threadIdx.x / 16 * 4; }
__device__ __forceinline__ int own_column() { return threadIdx.x % 16 * 4; }

// Columns [from, from + kDepth) of 64 rows that are contiguous along the sum. row_of(i): the row's column 0, null:
// zeros.
// A warp takes 4 rows x 8 columns: whole sectors of memory, and no two lanes in one bank.
template <class RowOf>
__device__ __forceinline__ void load_rows(Side& side, const RowOf& row_of, int64_t from, int64_t end) {
  const int column = threadIdx.x % 8;
#pragma unroll
  for (int row = threadIdx.x / 8; row < kTile; row += kThreads / 8) {
    const auto* source = row_of(row);
#pragma unroll
    for (int k = column; k < kDepth; k += 8) {
      side.at[k][row] = source && from + k < end ? to_float(source[from + k]) : 0.0f;
    }
  }
}

// `depth` rows that are contiguous along the tile. row_of(k): element 0 of the tile's width, null: zeros.
template <class RowOf>
__device__ __forceinline__ void load_columns(Side& side, const RowOf& row_of, int width) {
  const int column = threadIdx.x % kTile;
#pragma unroll
  for (int k = threadIdx.x / kTile; k < kDepth; k += kThreads / kTile) {
    const auto* source = row_of(k);
    side.at[k][column] = source && column < width ? to_float(source[column]) : 0.0f;
  }
}

__device__ __forceinline__ void multiply_add(float (&sum)[4][4], const float4& a, const float4& b) {
  const float left[4] = {a.x, a.y, a.z, a.w};
  const float right[4] = {b.x, b.y, b.z, b.w};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) sum[i][j] = fmaf(left[i], right[j], sum[i][j]);
  }
}

__device__ __forceinline__ void multiply_add(float (&sum)[4][4], const Side& rows, const Side& columns) {
#pragma unroll 8
  for (int k = 0; k < kDepth; ++k) {
    multiply_add(sum, *reinterpret_cast<const float4*>(&rows.at[k][own_row()]),
                 *reinterpret_cast<const float4*>(&columns.at[k][own_column()]));
  }
}

}  // namespace tamias::plain
