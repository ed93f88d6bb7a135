// Joins the partial results of items that were cut by keys.
#pragma once

#include "dense_attention_softmax.cuh"
#include "dense_attention_tile.cuh"

namespace tamias::dense_attention {

constexpr int kMergeRows = 16;  // a block's; a warp each, and one report byte in all

// Grid: row blocks of an item, items that were cut.
template <class Tile>
__global__ void __launch_bounds__(32 * kMergeRows) merge(const __grid_constant__ Arguments work) {
  constexpr int kFloats = Tile::kHeadDim / 32;
  const int lane = threadIdx.x % 32, item = work.whole + blockIdx.y;
  const int line = item / work.items_per_head, head = line % work.heads, batch = line / work.heads;
  const int tile = blockIdx.x / Tile::kWarps, warp = blockIdx.x % Tile::kWarps;
  const int row = warp * kMergeRows + threadIdx.x / 32;  // of the tile
  const int row_of_item = tile * Tile::kRows + row;
  const int query = (item - line * work.items_per_head) * work.item_rows + row_of_item;
  bool trusted = true;
  if (row_of_item < work.item_rows && query < work.queries) {
    const int steps = key_steps<Tile>(work), begin = blockIdx.y * steps;
    const int64_t cut = static_cast<int64_t>(work.items - work.whole) * steps;
    const int first = static_cast<int>((static_cast<int64_t>(begin + 1) * work.blocks - 1) / cut);
    float reference = -INFINITY, total = 0, o[kFloats] = {};
    for (int block = first; block < work.blocks && share_begin(work, steps, block) < begin + steps; ++block) {
      const int share = share_begin(work, steps, block);
      if (share == share_begin(work, steps, block + 1)) continue;
      const int64_t index = (2 * block + (share < begin ? 1 : 0)) * work.item_tiles + tile;
      const float* const slot = work.partials + index * kSlotFloats<Tile>;
      const float other = slot[Tile::kRows * Tile::kHeadDim + row];
      const float now = fmaxf(reference, other);
      const float mine = exp2f(reference - now), theirs = exp2f(other - now);
      total = total * mine + slot[Tile::kRows * (Tile::kHeadDim + 1) + row] * theirs;
#pragma unroll
      for (int i = 0; i < kFloats; ++i) o[i] = o[i] * mine + slot[row * Tile::kHeadDim + kFloats * lane + i] * theirs;
      reference = now;
    }
    trusted = Tile::kReference == Reference::kRunning || in_range(total);
    __nv_bfloat162* const to = reinterpret_cast<__nv_bfloat162*>(work.out.at(batch, head, query) + kFloats * lane);
#pragma unroll
    for (int i = 0; i < kFloats / 2; ++i) to[i] = __floats2bfloat162_rn(o[2 * i] / total, o[2 * i + 1] / total);
    if (lane == 0 && work.lse.data != nullptr) {
      *work.lse.at(batch, head, query) = (reference + log2f(total)) * kLn2;
    }
  }
  if constexpr (Tile::kReference != Reference::kRunning) {
    const int all = __syncthreads_and(trusted);
    if (threadIdx.x == 0) report_of(work, item, tile)[warp] = !all;
  }
}

}  // namespace tamias::dense_attention
