// Column sums of P: over a warp's 16 queries by the tensor cores (P transposed times a vector of weights), over warps by
// one warp of the feeding warpgroup in a fixed order. No atomics, so results repeat bit by bit.
#pragma once

#include "../common/ptx_sm90.cuh"
#include "dense_attention_tile.cuh"

namespace tamias::dense_attention {

__device__ __forceinline__ uint32_t transposed(uint32_t block) {
  uint32_t result;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(result) : "r"(block));
  return result;
}

// d[16, 8] += A[16, 16] B[16, 8], bf16.
__device__ __forceinline__ void multiply_add(float (&d)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                                             uint32_t b0, uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// The weights of a warp's 16 rows as the second operand: columns 2i and 2i + 1 serve key block i (of four that share an
// accumulator), all others are zero.
struct RowWeights {
  uint32_t low, high;  // rows 2q, 2q + 1 and rows 2q + 8, 2q + 9 of column lane / 4

  // Every row counts once.
  __device__ static RowWeights ones() {
    const uint32_t one = threadIdx.x / 4 % 2 == 0 ? 0x3F803F80u : 0u;
    return {one, one};
  }

  // Rows g and g + 8 of a quad count `weight` times. Two columns hold a weight's first and next 8 bits.
  __device__ static RowWeights of(const float (&weight)[2]) {
    const int quad = threadIdx.x % 4;
    uint32_t packed[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float even = __shfl_sync(~0u, weight[r], 8 * quad);
      const float odd = __shfl_sync(~0u, weight[r], 8 * quad + 4);
      const uint32_t coarse = sm90::pack_bf16(even, odd);
      const float rest_even = even - __uint_as_float(coarse << 16);
      const float rest_odd = odd - __uint_as_float(coarse & 0xFFFF0000u);
      packed[r] = threadIdx.x / 4 % 2 == 0 ? coarse : sm90::pack_bf16(rest_even, rest_odd);
    }
    return {packed[0], packed[1]};
  }
};

// P of a warp, packed for P V -> its slot of kKeys floats.
template <int kBlocks>
__device__ __forceinline__ void warp_column_sums(const uint32_t (&p)[kBlocks][4], const RowWeights& weights,
                                                 float* slot) {
  constexpr int kChains = (kBlocks + 3) / 4;
  const int lane = threadIdx.x % 32, quad = lane % 4, row = lane / 4;
  float d[kChains][4] = {};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const uint32_t b0 = row / 2 == i ? weights.low : 0u, b1 = row / 2 == i ? weights.high : 0u;
#pragma unroll
    for (int chain = 0; chain < kChains; ++chain) {
      const int block = 4 * chain + i;
      if (block < kBlocks) {
        multiply_add(d[chain], transposed(p[block][0]), transposed(p[block][2]), transposed(p[block][1]),
                     transposed(p[block][3]), b0, b1);
      }
    }
  }
#pragma unroll
  for (int chain = 0; chain < kChains; ++chain) {
    if (kBlocks % 4 == 0 || chain + 1 < kChains || quad < kBlocks % 4) {
      slot[16 * (4 * chain + quad) + row] = d[chain][0] + d[chain][1];
      slot[16 * (4 * chain + quad) + row + 8] = d[chain][2] + d[chain][3];
    }
  }
}

// The warp that adds the slots. An item of several row tiles adds them to what it has already stored.
template <class Tile>
__device__ void reduce_column_sums(const Arguments& work, Shared<Tile>& shared) {
  constexpr int kParts = (Tile::kKeys + 31) / 32;
  const int lane = threadIdx.x % 32;
  const int steps = (work.keys + Tile::kKeys - 1) / Tile::kKeys;
  uint32_t turn = 0;
  for (int index = wanted<Tile>(work, blockIdx.x); index < work.items; index = wanted<Tile>(work, index + gridDim.x)) {
    const Item item = item_at(work, index);
    float* const line = work.column_sums + static_cast<int64_t>(index) * work.keys;
    for (int begin = item.begin; begin < item.end; begin += Tile::kRows) {
      for (int step = 0; step < steps; ++step, ++turn) {
        const int slot = turn & 1;
        sm90::barrier_wait(&shared.sums_full[slot], turn >> 1 & 1);
        float sum[kParts];
#pragma unroll
        for (int i = 0; i < kParts; ++i) {
          sum[i] = 0;
          if (Tile::kKeys % 32 == 0 || lane + 32 * i < Tile::kKeys) {
#pragma unroll
            for (int warp = 0; warp < Tile::kWarps; ++warp) sum[i] += shared.sums[slot][warp][lane + 32 * i];
          }
        }
        __syncwarp();
        if (lane == 0) sm90::barrier_arrive(&shared.sums_empty[slot]);
#pragma unroll
        for (int i = 0; i < kParts; ++i) {
          const int column = lane + 32 * i, key = step * Tile::kKeys + column;
          if (column < Tile::kKeys && key < work.keys) {
            line[key] = begin == item.begin ? sum[i] : line[key] + sum[i];
          }
        }
      }
    }
  }
}

}  // namespace tamias::dense_attention
