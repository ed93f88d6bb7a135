// Column sums of P. A computing warp adds its rows in pairs and hands them over in shared memory; warps of the feeding
// warpgroup, which have little else to do, add up the rest in a fixed order. No atomics, so results repeat bit by bit.
// The tensor cores could add rows too, but only behind the products already queued for them.
#pragma once

#include "../common/ptx_sm90.cuh"
#include "dense_attention_tile.cuh"

namespace tamias::dense_attention {

__device__ __forceinline__ float low_half(uint32_t packed) { return __uint_as_float(packed << 16); }
__device__ __forceinline__ float high_half(uint32_t packed) { return __uint_as_float(packed & 0xFFFF0000u); }

__device__ __forceinline__ uint32_t add_pairs(uint32_t a, uint32_t b) {
  uint32_t sum;
  asm("add.rn.bf16x2 %0, %1, %2;" : "=r"(sum) : "r"(a), "r"(b));
  return sum;
}

__device__ __forceinline__ uint32_t add_pairs_weighted(uint32_t a, uint32_t b, const float (&weight)[2]) {
  return sm90::pack_bf16(low_half(a) * weight[0] + low_half(b) * weight[1],
                         high_half(a) * weight[0] + high_half(b) * weight[1]);
}

// P of a warp as packed for P V -> its slot: lane (row g, quad q) leaves the sums of rows g and g + 8 for columns
// 32 * chunk + 8 * i + 2q and + 1 in word i of its uint4. `weight` counts only where kWeighted.
template <bool kWeighted, int kBlocks>
__device__ __forceinline__ void hand_over_sums(const uint32_t (&p)[kBlocks][4], const float (&weight)[2],
                                               uint4 (&slot)[kBlocks / 2][32]) {
  const auto sum = [&](int block, int half) {
    const uint32_t upper = p[block][2 * half], lower = p[block][2 * half + 1];
    return kWeighted ? add_pairs_weighted(upper, lower, weight) : add_pairs(upper, lower);
  };
#pragma unroll
  for (int chunk = 0; chunk < kBlocks / 2; ++chunk) {
    slot[chunk][threadIdx.x % 32] =
        make_uint4(sum(2 * chunk, 0), sum(2 * chunk, 1), sum(2 * chunk + 1, 0), sum(2 * chunk + 1, 1));
  }
}

// Adds over the 8 lanes of equal lane % 4; lane (g, q) is left with the sum of v[g].
__device__ __forceinline__ float add_over_rows(float (&v)[8]) {
#pragma unroll
  for (int half = 4; half >= 1; half /= 2) {
    const bool upper = (threadIdx.x & 4 * half) != 0;
#pragma unroll
    for (int i = 0; i < half; ++i) {
      const float sent = upper ? v[i] : v[i + half];
      const float kept = upper ? v[i + half] : v[i];
      v[i] = kept + __shfl_xor_sync(~0u, sent, 4 * half);
    }
  }
  return v[0];
}

// A warp that adds up the slots, warp 1 to kReducers of the feeding warpgroup.
template <class Tile>
__device__ void reduce_column_sums(const Arguments& work, Shared<Tile>& shared) {
  const int reducer = threadIdx.x / 32 - 1, lane = threadIdx.x % 32;
  const int column = lane / 8 * 8 + 2 * (lane % 4) + lane / 4 % 2;  // of a chunk, after add_over_rows
  uint32_t turn = 0;
  Piece piece;
  for (int n = 0; n < piece_count(work); ++n) {
    if (!piece_at<Tile>(work, n, piece)) continue;
    for (int begin = piece.begin; begin < piece.end; begin += Tile::kRows) {
      for (int step = piece.first; step < piece.last; ++step, ++turn) {
        const int slot = turn % Tile::kSlots;
        sm90::barrier_wait(&shared.sums_full[slot], turn / Tile::kSlots & 1);
        for (int chunk = reducer; chunk < Tile::kKeys / 32; chunk += Tile::kReducers) {
          const int key = step * Tile::kKeys + 32 * chunk + column;
          float sum[8] = {};
          int group = (begin - piece.begin) / work.group;
#pragma unroll 1
          for (int strip = 0; strip < Tile::kWarpgroups; ++strip) {
#pragma unroll
            for (int warp = 0; warp < 4; ++warp) {
              const uint4 word = shared.sums[slot][4 * strip + warp][chunk][lane];
              sum[0] += low_half(word.x), sum[1] += high_half(word.x);
              sum[2] += low_half(word.y), sum[3] += high_half(word.y);
              sum[4] += low_half(word.z), sum[5] += high_half(word.z);
              sum[6] += low_half(word.w), sum[7] += high_half(word.w);
            }
            const int next = begin + 64 * (strip + 1);
            const bool group_done = next >= piece.begin + (group + 1) * work.group || next >= piece.end;
            if (!group_done && strip + 1 < Tile::kWarpgroups) continue;
            const float total = add_over_rows(sum);
            if (key < work.keys) {
              float* const to = work.column_sums + (piece.first_group + group) * work.keys + key;
              // A group that began in an earlier row tile has its sums so far there.
              *to = piece.begin + group * work.group < begin ? *to + total : total;
            }
            if (next >= piece.end) break;
#pragma unroll
            for (int i = 0; i < 8; ++i) sum[i] = 0;
            ++group;
          }
        }
        __syncwarp();
        if (lane == 0) sm90::barrier_arrive(&shared.sums_empty[slot]);
      }
    }
  }
}

}  // namespace tamias::dense_attention
