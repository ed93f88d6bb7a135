// The kernel: warpgroup 0 feeds, the others compute (dense_attention_tile.cuh).
#pragma once

#include "../common/ptx_sm90.cuh"
#include "../common/wgmma_sm90.cuh"
#include "dense_attention_softmax.cuh"
#include "dense_attention_sums.cuh"
#include "dense_attention_tile.cuh"

namespace tamias::dense_attention {

// One thread. The ring of stages runs on from piece to piece.
template <class Tile>
__device__ void load_tiles(const Arguments& work, Shared<Tile>& shared) {
  uint32_t tiles = 0, k_turn = 0, v_turn = 0;
  Piece piece;
  for (int n = 0; n < piece_count(work); ++n) {
    if (!piece_at<Tile>(work, n, piece)) continue;
    const auto load = [&](uint32_t& turn, char (&ring)[Tile::kStages][Tile::kKeyBytes], uint64_t* full, uint64_t* empty,
                          const CUtensorMap& map, int step) {
      const uint32_t stage = turn % Tile::kStages;
      sm90::barrier_wait(&empty[stage], (turn / Tile::kStages & 1) ^ 1);
      sm90::barrier_expect(&full[stage], Tile::kKeyBytes);
      sm90::load_map_5d(sm90::shared_address(ring[stage]), &map, &full[stage], 0, step * Tile::kKeys, 0, piece.head,
                        piece.batch);
      ++turn;
    };
    for (int begin = piece.begin; begin < piece.end; begin += Tile::kRows, ++tiles) {
      load(k_turn, shared.k, shared.k_full, shared.k_empty, work.k, piece.first);
      sm90::barrier_wait(&shared.q_empty, (tiles & 1) ^ 1);
      sm90::barrier_expect(&shared.q_full, Tile::kQueryBytes);
      sm90::load_map_5d(sm90::shared_address(shared.q), &work.q, &shared.q_full, 0, begin, 0, piece.head, piece.batch);
      for (int step = piece.first; step < piece.last; ++step) {
        if (step + 1 < piece.last) load(k_turn, shared.k, shared.k_full, shared.k_empty, work.k, step + 1);
        load(v_turn, shared.v, shared.v_full, shared.v_empty, work.v, step);
      }
    }
  }
}

__device__ __forceinline__ void load_matrices(uint32_t (&to)[4], uint32_t address) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(address)
               : "memory");
}

// Four lanes that hold 2 columns of each of 4 blocks of 8 -> each lane all 8 columns of its own block.
__device__ __forceinline__ uint4 gather_block(uint32_t (&pair)[4]) {
  const int quad = threadIdx.x % 4;
#pragma unroll
  for (int distance = 1; distance <= 2; distance *= 2) {
    const bool upper = (quad & distance) != 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if ((i & distance) != 0) continue;
      const uint32_t received = __shfl_xor_sync(~0u, upper ? pair[i] : pair[i + distance], distance);
      pair[i] = upper ? received : pair[i];
      pair[i + distance] = upper ? pair[i + distance] : received;
    }
  }
  return make_uint4(pair[0], pair[1], pair[2], pair[3]);
}

template <class Tile>
struct Compute {
  static constexpr int kBlocks = Tile::kKeys / 16;
  using Scores = sm90::Wgmma<Tile::kKeys>;
  using Values = sm90::Wgmma<Tile::kHeadDim>;

  const Arguments& work;
  Shared<Tile>& shared;
  const int warpgroup, lane, warp;  // warp: of all that compute

  float s[Tile::kKeys / 2], o[Tile::kHeadDim / 2];
  uint32_t p[kBlocks][4];
  uint32_t q[Tile::kHoldQueries ? Tile::kHeadDim / 16 : 1][4];
  Softmax<Tile::kReference> softmax;
  float rescale[2], weight[2];
  float previous[2];  // base 2; +infinity for rows outside

  __device__ Compute(const Arguments& work, Shared<Tile>& shared)
      : work(work),
        shared(shared),
        warpgroup(threadIdx.x / 128 - 1),
        lane(threadIdx.x % 32),
        warp(threadIdx.x / 32 - 4) {}

  __device__ void hold_p() {
#pragma unroll
    for (int i = 0; i < kBlocks; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) asm volatile("" : "+r"(p[i][j])::"memory");
    }
  }

  __device__ void release(uint64_t* barrier) {
    if (lane == 0) sm90::barrier_arrive(barrier);
  }

  // The queries' fragments, as wgmma wants its first operand.
  __device__ void load_queries() {
    if constexpr (Tile::kHoldQueries) {
      const int row = 16 * warp + lane % 16;
      const uint32_t line = sm90::shared_address(shared.q) + row * 128;
#pragma unroll
      for (int i = 0; i < Tile::kHeadDim / 16; ++i) {
        const int chunk = 2 * (i % 4) + lane / 16;
        load_matrices(q[i], line + i / 4 * (Tile::kRows * 128) + (chunk ^ row % 8) * 16);
      }
    }
  }

  // Queues S = Q K^T. `turn` counts the key tiles of all this block's work.
  __device__ void multiply_scores(uint32_t turn) {
    const uint32_t stage = turn % Tile::kStages;
    const uint64_t rows = sm90::swizzled_tile(sm90::shared_address(shared.q) + warpgroup * 8192, 16);
    const uint64_t k = sm90::swizzled_tile(sm90::shared_address(shared.k[stage]), 16);
    sm90::barrier_wait(&shared.k_full[stage], turn / Tile::kStages & 1);
    sm90::hold(s);
    sm90::wgmma_fence();
#pragma unroll
    for (int i = 0; i < Tile::kHeadDim / 16; ++i) {
      const uint64_t columns = sm90::advance(k, i / 4 * (Tile::kKeys * 128) + i % 4 * 32);
      if constexpr (Tile::kHoldQueries) {
        Scores::template rs<0>(s, q[i], columns, i > 0);
      } else {
        Scores::template ss<0, 0>(s, sm90::advance(rows, i / 4 * (Tile::kRows * 128) + i % 4 * 32), columns, i > 0);
      }
    }
    sm90::wgmma_commit();
  }

  __device__ void scores_done(uint32_t turn) {
    sm90::hold(s);
    release(&shared.k_empty[turn % Tile::kStages]);
  }

  // Queues O += P V.
  __device__ void multiply_values(uint32_t turn) {
    const uint32_t stage = turn % Tile::kStages;
    const uint64_t v = sm90::swizzled_tile(sm90::shared_address(shared.v[stage]), Tile::kKeys * 128);
    sm90::barrier_wait(&shared.v_full[stage], turn / Tile::kStages & 1);
    sm90::hold(o);
    hold_p();
    sm90::wgmma_fence();
#pragma unroll
    for (int i = 0; i < kBlocks; ++i) Values::template rs<1>(o, p[i], sm90::advance(v, i * 2048));
    sm90::wgmma_commit();
  }

  __device__ void values_done(uint32_t turn) {
    sm90::hold(o);
    hold_p();
    release(&shared.v_empty[turn % Tile::kStages]);
  }

  __device__ void refer(int step, bool first) {
    const int valid = work.keys - step * Tile::kKeys;
    if (valid < Tile::kKeys) mask_keys(s, valid);
    softmax.refer(s, work.scale_log2, first, rescale);
  }

  // O to the new reference.
  __device__ void rescale_output() {
    if constexpr (Tile::kReference == Reference::kRunning) {
#pragma unroll
      for (int i = 0; i < Tile::kHeadDim / 2; ++i) o[i] *= rescale[i % 4 / 2];
      if constexpr (Tile::kSums) {
        weight[0] = fminf(sm90::exp2_fast(softmax.reference[0] - previous[0]), 0x1p+127f);
        weight[1] = fminf(sm90::exp2_fast(softmax.reference[1] - previous[1]), 0x1p+127f);
      }
    }
  }

  __device__ void pack() {
#pragma unroll
    for (int i = 0; i < kBlocks; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) p[i][j] = sm90::pack_bf16(s[8 * i + 2 * j], s[8 * i + 2 * j + 1]);
    }
  }

  // P's column sums, to the warp that finishes them.
  __device__ void hand_over(uint32_t turn) {
    if constexpr (Tile::kSums) {
      const int slot = turn % 2;
      sm90::barrier_wait(&shared.sums_empty[slot], (turn / 2 % 2) ^ 1);
      add_rows<Tile::kReference == Reference::kRunning>(p, weight, shared.sums[slot][warp]);
      __syncwarp();
      release(&shared.sums_full[slot]);
    }
  }

  __device__ void store(const Piece& piece, int row) {
    float scale[2];
    bool inside[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      inside[r] = row + 8 * r < piece.end;
      scale[r] = 1.0f / softmax.total[r];
      if (work.lse.data != nullptr && inside[r] && lane % 4 == 0) {
        const float lse = (softmax.reference[r] + log2f(softmax.total[r])) * kLn2;
        *work.lse.at(piece.batch, piece.head, row + 8 * r) = lse;
      }
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      __nv_bfloat16* const line = work.out.at(piece.batch, piece.head, row + 8 * r) + 8 * (lane % 4);
#pragma unroll
      for (int i = 0; i < Tile::kHeadDim / 32; ++i) {
        uint32_t pair[4];
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          const int at = 16 * i + 4 * j + 2 * r;
          pair[j] = sm90::pack_bf16(o[at] * scale[r], o[at + 1] * scale[r]);
        }
        const uint4 block = gather_block(pair);
        if (inside[r]) *reinterpret_cast<uint4*>(line + 32 * i) = block;
      }
    }
  }

  __device__ void store_partial(int index) {
    float* const slot = work.partials + index * kSlotFloats<Tile>;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int row = 16 * warp + lane / 4 + 8 * r;
      float* const line = slot + row * Tile::kHeadDim + 2 * (lane % 4);
#pragma unroll
      for (int j = 0; j < Tile::kHeadDim / 8; ++j) {
        *reinterpret_cast<float2*>(line + 8 * j) = make_float2(o[4 * j + 2 * r], o[4 * j + 2 * r + 1]);
      }
      if (lane % 4 == 0) {
        slot[Tile::kRows * Tile::kHeadDim + row] = softmax.reference[r];
        slot[Tile::kRows * (Tile::kHeadDim + 1) + row] = softmax.total[r];
      }
    }
  }

  // The references of this thread's rows; keeps a copy of them.
  __device__ void read_previous(const Piece& piece, int row) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      previous[r] = INFINITY;
      if (row + 8 * r < piece.end) {
        const float value = *work.previous_lse.at(piece.batch, piece.head, row + 8 * r);
        previous[r] = value * kLog2E;
        if (work.saved_previous.data != nullptr && lane % 4 == 0) {
          *work.saved_previous.at(piece.batch, piece.head, row + 8 * r) = value;
        }
      }
    }
  }

  // One row tile over the piece's keys. Q K^T of the next step runs beside P V, and under its softmax the rest of P V.
  __device__ void walk(int first, int last, uint32_t& turn) {
    multiply_scores(turn);
    sm90::wgmma_wait<0>();
    scores_done(turn);
    // A product has used the queries' registers, so they have arrived; right after load_queries they need not have.
    if constexpr (Tile::kHoldQueries) release(&shared.q_empty);
    refer(first, true);
    rescale_output();
    softmax.exponentiate(s, work.scale_log2);
    pack();
    for (int step = first + 1; step < last; ++step, ++turn) {
      multiply_scores(turn + 1);
      multiply_values(turn);
      hand_over(turn);
      sm90::wgmma_wait<1>();
      scores_done(turn + 1);
      refer(step, false);
      softmax.exponentiate(s, work.scale_log2);
      sm90::wgmma_wait<0>();
      values_done(turn);
      rescale_output();
      pack();
    }
    if constexpr (!Tile::kHoldQueries) release(&shared.q_empty);
    multiply_values(turn);
    hand_over(turn);
    sm90::wgmma_wait<0>();
    values_done(turn);
    ++turn;
  }

  __device__ void run() {
    uint32_t turn = 0, tiles = 0;
    for (int n = 0; n < piece_count(work); ++n) {
      Piece piece;
      if (!piece_at<Tile>(work, n, piece)) continue;
      for (int tile = 0; piece.begin + tile * Tile::kRows < piece.end; ++tile, ++tiles) {
        if constexpr (Tile::kSums) read_previous(piece, piece.begin + tile * Tile::kRows + 16 * warp + lane / 4);
        softmax.begin(previous);
#pragma unroll
        for (int i = 0; i < Tile::kHeadDim / 2; ++i) o[i] = 0;
        sm90::barrier_wait(&shared.q_full, tiles & 1);
        load_queries();
        walk(piece.first, piece.last, turn);
        // Found out anew, rather than kept in registers that the loop over the keys needs.
        asm volatile("" : "+r"(n));
        piece_at<Tile>(work, n, piece);
        softmax.finish();
        if (piece.slot >= 0) {
          store_partial(piece.slot + tile);
          continue;
        }
        const int row = piece.begin + tile * Tile::kRows + 16 * warp + lane / 4;
        store(piece, row);
        if constexpr (Tile::kReference != Reference::kRunning) {
          const bool trusted = (row >= piece.end || softmax.trusted(0)) && (row + 8 >= piece.end || softmax.trusted(1));
          const bool all = __all_sync(~0u, trusted);
          if (lane == 0) report_of(work, piece.item, tile)[warp] = !all;
        }
      }
    }
  }
};

template <class Tile>
__global__ void __launch_bounds__(Tile::kThreads, 1) kernel(const __grid_constant__ Arguments work) {
  extern __shared__ char memory[];
  Shared<Tile>& shared = *reinterpret_cast<Shared<Tile>*>(memory);
  if (Tile::kReference == Reference::kRunning && work.reports != nullptr) {
    // As a fallback mostly without work, which is found out at once.
    bool any = false;
    Piece piece;
    for (int n = threadIdx.x; n < piece_count(work); n += Tile::kThreads) any |= piece_at<Tile>(work, n, piece);
    if (!__syncthreads_or(any)) return;
  }
  if (threadIdx.x == 0) {
    sm90::prefetch_map(&work.q);
    sm90::prefetch_map(&work.k);
    sm90::prefetch_map(&work.v);
    sm90::barrier_init(&shared.q_full, 1);
    sm90::barrier_init(&shared.q_empty, Tile::kWarps);
    for (int i = 0; i < Tile::kStages; ++i) {
      sm90::barrier_init(&shared.k_full[i], 1);
      sm90::barrier_init(&shared.k_empty[i], Tile::kWarps);
      sm90::barrier_init(&shared.v_full[i], 1);
      sm90::barrier_init(&shared.v_empty[i], Tile::kWarps);
    }
    for (int i = 0; i < 2; ++i) {
      sm90::barrier_init(&shared.sums_full[i], Tile::kWarps);
      sm90::barrier_init(&shared.sums_empty[i], 1);
    }
    sm90::barrier_init_fence();
  }
  __syncthreads();
  if (threadIdx.x < 128) {
    sm90::give_registers<Tile::kFeederRegisters>();
    if (threadIdx.x == 0) {
      load_tiles<Tile>(work, shared);
    } else if (Tile::kSums && threadIdx.x / 32 == 1) {
      reduce_column_sums<Tile>(work, shared);
    }
  } else {
    sm90::take_registers<Tile::kComputeRegisters>();
    Compute<Tile>(work, shared).run();
  }
}

}  // namespace tamias::dense_attention
