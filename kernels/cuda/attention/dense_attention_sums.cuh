// Column sums of P. A computing warp adds its 16 rows by shuffles and hands the sums over in shared memory; a warp of
// the feeding warpgroup adds up the warps of each group in a fixed order. Blocks share no sum, so results repeat bit by
// bit. Adding rows by mma.sync on transposed P measured slower.
#pragma once

#include "../common/ptx_sm90.cuh"
#include "dense_attention_tile.cuh"

namespace tamias::dense_attention {

__device__ __forceinline__ float low_half(uint32_t packed) { return __uint_as_float(packed << 16); }
__device__ __forceinline__ float high_half(uint32_t packed) { return __uint_as_float(packed & 0xFFFF0000u); }

__device__ __forceinline__ uint32_t add_halves(uint32_t a, uint32_t b) {
  uint32_t sum;
  asm("add.rn.bf16x2 %0, %1, %2;" : "=r"(sum) : "r"(a), "r"(b));
  return sum;
}

// Of values 0 to 2 * kHalf - 1, lanes with the bit `kDistance` keep the upper half and others the lower, each with its
// partner's part to be added.
template <int kHalf, int kDistance, class T, class Add>
__device__ __forceinline__ void halve(T* value, const Add& add) {
  const bool upper = (threadIdx.x & kDistance) != 0;
#pragma unroll
  for (int i = 0; i < kHalf; ++i) {
    const T sent = upper ? value[i] : value[i + kHalf];
    const T kept = upper ? value[i + kHalf] : value[i];
    value[i] = add(kept, __shfl_xor_sync(~0u, sent, kDistance));
  }
}

// P of a warp, as packed for P V -> its sums. Four rows are added in bf16, the rest in fp32. Row g counts weight[0] and
// row g + 8 weight[1] times where kWeighted.
template <bool kWeighted, int kBlocks>
__device__ __forceinline__ void add_rows(const uint32_t (&p)[kBlocks][4], const float (&weight)[2],
                                         float (&slot)[16 * kBlocks]) {
  uint32_t pair[2 * kBlocks];  // i: columns 8i + 2q and + 1
#pragma unroll
  for (int i = 0; i < 2 * kBlocks; ++i) {
    const uint32_t upper = p[i / 2][i % 2 * 2], lower = p[i / 2][i % 2 * 2 + 1];
    pair[i] = kWeighted ? sm90::pack_bf16(low_half(upper) * weight[0] + low_half(lower) * weight[1],
                                          high_half(upper) * weight[0] + high_half(lower) * weight[1])
                        : add_halves(upper, lower);
  }
  halve<kBlocks, 16>(pair, add_halves);
  float sum[2 * kBlocks];
#pragma unroll
  for (int i = 0; i < kBlocks; ++i) {
    sum[2 * i] = low_half(pair[i]);
    sum[2 * i + 1] = high_half(pair[i]);
  }
  const auto add = [](float a, float b) { return a + b; };
  halve<kBlocks, 8>(sum, add);
  halve<kBlocks / 2, 4>(sum, add);
  // A lane of row g is left with kBlocks / 2 sums, from number g * kBlocks / 2 on.
  static_assert(kBlocks % 4 == 0);
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < kBlocks / 4; ++i) {
    const int column = (lane / 4 * (kBlocks / 4) + i) * 8 + lane % 4 * 2;
    *reinterpret_cast<float2*>(slot + column) = make_float2(sum[2 * i], sum[2 * i + 1]);
  }
}

// Neighbouring columns, moved together.
template <int kWidth>
struct alignas(4 * kWidth) Columns {
  float value[kWidth];

  __device__ void operator+=(const Columns& other) {
#pragma unroll
    for (int i = 0; i < kWidth; ++i) value[i] += other.value[i];
  }
};

__device__ __forceinline__ void add_to(Columns<2>* to, const Columns<2>& sum) {
  asm volatile("red.global.add.v2.f32 [%0], {%1, %2};" ::"l"(to), "f"(sum.value[0]), "f"(sum.value[1]) : "memory");
}

__device__ __forceinline__ void add_to(Columns<4>* to, const Columns<4>& sum) {
  asm volatile("red.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(to), "f"(sum.value[0]), "f"(sum.value[1]),
               "f"(sum.value[2]), "f"(sum.value[3])
               : "memory");
}

// The warp that adds up the slots.
template <class Tile>
__device__ void reduce_column_sums(const Arguments& work, Shared<Tile>& shared) {
  constexpr int kWidth = Tile::kKeys % 128 == 0 ? 4 : 2;
  constexpr int kParts = Tile::kKeys / (32 * kWidth);  // of a lane
  using Part = Columns<kWidth>;
  const int lane = threadIdx.x % 32;
  const bool whole = work.keys % kWidth == 0 && reinterpret_cast<uintptr_t>(work.column_sums) % sizeof(Part) == 0;
  uint32_t turn = 0;
  Piece piece;
  for (int n = 0; n < piece_count(work); ++n) {
    if (!piece_at<Tile>(work, n, piece)) continue;
    for (int begin = piece.begin; begin < piece.end; begin += Tile::kRows) {
      for (int step = piece.first; step < piece.last; ++step, ++turn) {
        const int slot = turn % 2;
        sm90::barrier_wait(&shared.sums_full[slot], turn / 2 % 2);
        Part sum[Tile::kWarpgroups][kParts] = {};
#pragma unroll
        for (int warp = 0; warp < Tile::kWarps; ++warp) {
#pragma unroll
          for (int i = 0; i < kParts; ++i) {
            sum[warp / 4][i] += reinterpret_cast<const Part*>(shared.sums[slot][warp])[lane + 32 * i];
          }
        }
        __syncwarp();
        if (lane == 0) sm90::barrier_arrive(&shared.sums_empty[slot]);
        // 64 rows are of one group: groups are whole multiples, or the piece is one group.
        int from = begin - piece.begin;
#pragma unroll
        for (int strip = 0; strip < Tile::kWarpgroups; ++strip) {
          const int next = begin - piece.begin + 64 * (strip + 1), group = from / work.group;
          if (strip + 1 < Tile::kWarpgroups && next < piece.end - piece.begin && next / work.group == group) {
#pragma unroll
            for (int i = 0; i < kParts; ++i) sum[(strip + 1) % Tile::kWarpgroups][i] += sum[strip][i];
            continue;
          }
          // What this thread stored for the group's first rows may be added to without waiting for it.
          const bool fresh = from == group * work.group;
          float* const line = work.column_sums + (piece.first_group + group) * work.keys;
#pragma unroll
          for (int i = 0; i < kParts; ++i) {
            const int key = step * Tile::kKeys + kWidth * (lane + 32 * i);
            if (whole && key < work.keys) {
              Part* const to = reinterpret_cast<Part*>(line + key);
              if (fresh) {
                *to = sum[strip][i];
              } else {
                add_to(to, sum[strip][i]);
              }
            } else {
#pragma unroll
              for (int j = 0; j < kWidth; ++j) {
                if (key + j >= work.keys) break;
                if (fresh) {
                  line[key + j] = sum[strip][i].value[j];
                } else {
                  atomicAdd(line + key + j, sum[strip][i].value[j]);
                }
              }
            }
          }
          if (next >= piece.end - piece.begin) break;
          from = next;
        }
      }
    }
  }
}

}  // namespace tamias::dense_attention
