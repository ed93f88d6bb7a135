// Filling tiles of shared memory (tile_offset in ptx_sm80.cuh) by asynchronous copies.
#pragma once

#include "ptx_sm80.cuh"

namespace tamias::sm80 {

// Copies rows into a tile of kRows x kWidth, by kThreads threads. A thread owns 8 columns of every kRowsAtOnce-th row.
template <int kThreads, int kRows, int kWidth>
struct TileCopy {
  static constexpr int kChunks = kWidth / 8;
  static constexpr int kRowsAtOnce = kThreads / kChunks;
  static constexpr int kPasses = kRows / kRowsAtOnce;
  static_assert(kRows % kRowsAtOnce == 0 && kRowsAtOnce % 8 == 0);

  int chunk, row;
  uint32_t offset;

  __device__ TileCopy()
      : chunk(threadIdx.x % kChunks), row(threadIdx.x / kChunks), offset(tile_offset(kRows, row, chunk)) {}

  __device__ int row_of(int pass) const { return row + pass * kRowsAtOnce; }

  // `from`: column 0 of the row; `column`: of the tile's first column.
  __device__ void copy(uint32_t tile, int pass, const __nv_bfloat16* from, int column, int columns, bool valid) const {
    column += chunk * 8;
    copy16(tile + offset + pass * (kRowsAtOnce * 128), from + column, valid && column < columns);
  }
};

}  // namespace tamias::sm80
