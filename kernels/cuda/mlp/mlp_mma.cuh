// What both layers share on tensor cores from sm_80 on, by mma.sync: a block's tile is 128 x 128 of the product, 4 x 2
// warps of 32 x 64. Both operands come through a ring of stages, kDepth of the sum at a time.
#pragma once

#include "../common/tile_copy_sm80.cuh"
#include "mlp_tiles.cuh"

namespace tamias::mlp_mma {

using namespace sm80;

constexpr int kThreads = 256;
constexpr int kTile = 128;
constexpr int kDepth = 64;
constexpr int kStages = 3;
constexpr int kOperandBytes = kTile * kDepth * 2;
constexpr int kStageBytes = 2 * kOperandBytes;
constexpr int kSharedBytes = kStages * kStageBytes;

// A thread's place in its warp's part of the tile.
struct Lane {
  int lane, row, column;

  __device__ __forceinline__ Lane()
      : lane(threadIdx.x % 32), row(threadIdx.x / 32 / 2 * 32), column(threadIdx.x / 32 % 2 * 64) {}
};

// A thread's results: of rows `row` + 16 m + 8 (e / 2) + lane / 4, columns `column` + 8 n + 2 (lane % 4) + e % 2.
using Sums = float[2][8][4];

// copy_step(step): begins the copies of a step into its stage, nothing for a step past the end, and commits them.
// load_rows(to, operand, k, m), load_columns(to, operand, k, n): matrices of the k-th 16 of a step's depth.
template <class CopyStep, class LoadRows, class LoadColumns>
__device__ __forceinline__ void multiply(Sums& sum, uint32_t ring, int steps, const CopyStep& copy_step,
                                         const LoadRows& load_rows, const LoadColumns& load_columns) {
  for (int step = 0; step < kStages - 1; ++step) copy_step(step);
  for (int step = 0; step < steps; ++step) {
    copies_wait<kStages - 2>();
    __syncthreads();
    copy_step(step + kStages - 1);
    const uint32_t rows = ring + step % kStages * kStageBytes;
    const uint32_t columns = rows + kOperandBytes;
#pragma unroll
    for (int k = 0; k < kDepth / 16; ++k) {
      uint32_t a[2][4];
#pragma unroll
      for (int m = 0; m < 2; ++m) load_rows(a[m], rows, k, m);
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        uint32_t b[4];
        load_columns(b, columns, k, n);
#pragma unroll
        for (int m = 0; m < 2; ++m) {
          multiply_add(sum[m][2 * n], a[m], b[0], b[1]);
          multiply_add(sum[m][2 * n + 1], a[m], b[2], b[3]);
        }
      }
    }
  }
  copies_wait<0>();
}

}  // namespace tamias::mlp_mma
