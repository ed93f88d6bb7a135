// Dense attention on Hopper: the shape of a block's work, and what its warpgroups share.
//
// A block owns `kRows` queries and walks over all keys in steps of `kKeys`. Warpgroup 0 feeds: one thread drives the
// copy engine, one warp adds up column sums. Every other warpgroup owns 64 queries: S = Q K^T, P = exp(S), O += P V.
#pragma once

#include <cuda.h>

#include <cstdint>

#include "attention_problem.h"

namespace tamias::dense_attention {

// What logits are measured against before exp.
enum class Reference {
  kRunning,   // the largest logit so far; always right
  kAnchored,  // the largest logit of the first step; a row that outgrows it is reported
  kGiven      // a log-sum-exp from before, so that P is the summand of the column sums; a row too far off is reported
};

template <int kHeadDim_, int kWarpgroups_, int kKeys_, Reference kReference_, bool kSums_, bool kHoldQueries_>
struct Tile {
  static constexpr int kHeadDim = kHeadDim_;
  static constexpr int kWarpgroups = kWarpgroups_;  // that compute
  static constexpr int kKeys = kKeys_;
  static constexpr Reference kReference = kReference_;
  static constexpr bool kSums = kSums_;
  static constexpr bool kHoldQueries = kHoldQueries_;  // in registers: shared memory is busy enough with keys

  static constexpr int kRows = 64 * kWarpgroups;
  static constexpr int kWarps = 4 * kWarpgroups;
  static constexpr int kThreads = 128 * (kWarpgroups + 1);
  static constexpr int kStages = 2;
  static constexpr int kQueryBytes = kRows * kHeadDim * 2;
  static constexpr int kKeyBytes = kKeys * kHeadDim * 2;
  // Registers a thread. A multiprocessor has 65,536.
  static constexpr int kFeederRegisters = kWarpgroups == 3 ? 32 : kHeadDim == 64 ? 56 : 40;
  static constexpr int kComputeRegisters = kWarpgroups == 3 ? 160 : kHeadDim == 64 ? 224 : 232;
};

template <class Tile>
struct alignas(1024) Shared {
  char q[Tile::kQueryBytes];
  char k[Tile::kStages][Tile::kKeyBytes];
  char v[Tile::kStages][Tile::kKeyBytes];
  float sums[Tile::kSums ? 2 : 1][Tile::kSums ? Tile::kWarps : 1][Tile::kSums ? Tile::kKeys : 1];
  uint64_t q_full, q_empty;
  uint64_t k_full[Tile::kStages], k_empty[Tile::kStages];
  uint64_t v_full[Tile::kStages], v_empty[Tile::kStages];
  uint64_t sums_full[2], sums_empty[2];
};

// The work: items of `item_rows` neighbouring queries of a head, head by head, so that blocks that run side by side
// read the same keys. An item is one row tile or several, and whole groups where column sums are wanted. The first
// `whole` items are dealt out in turn; what does not fill a round of all blocks is cut by keys into equal shares, whose
// partial results are merged afterwards.
struct Arguments {
  CUtensorMap q, k, v;
  HeadRows<__nv_bfloat16> out;
  HeadRows<float> lse;
  HeadRows<const float> previous_lse;
  HeadRows<float> saved_previous;  // a copy of previous_lse, which lse may overwrite
  float* column_sums;
  uint4* reports;                  // one a row tile: byte w is set where a row of warp w was out of range
  float* partials;                 // slots of kRows rows: O, then the rows' references, then their totals
  float scale_log2;
  int32_t heads;
  int32_t queries, keys;
  int32_t group, groups_per_head;
  int32_t item_rows, item_tiles;
  int32_t items_per_head;
  int32_t items, whole;
  int32_t blocks;
};

// The bytes of a row tile's report, one a warp.
__device__ __forceinline__ uint8_t* report_of(const Arguments& work, int item, int tile) {
  return reinterpret_cast<uint8_t*>(work.reports + static_cast<int64_t>(item) * work.item_tiles + tile);
}

// A block's piece of work: an item, or some of its keys.
struct Piece {
  int item;  // of all
  int batch, head;
  int begin, end;       // queries
  int64_t first_group;  // of all
  int first, last;      // steps over the keys
  int slot;             // where the first tile's partial result goes; -1: the item is complete
};

template <class Tile>
__device__ __forceinline__ int key_steps(const Arguments& work) {
  return (work.keys + Tile::kKeys - 1) / Tile::kKeys;
}

// Where the share of a block in the cut items begins.
__device__ __forceinline__ int share_begin(const Arguments& work, int steps, int block) {
  return static_cast<int>(static_cast<int64_t>(work.items - work.whole) * steps * block / work.blocks);
}

// No share is longer than an item, so it touches two at most.
__device__ __forceinline__ int piece_count(const Arguments& work) {
  return (work.whole + work.blocks - 1) / work.blocks + (work.whole < work.items ? 2 : 0);
}

// This block's n-th piece; false where it is not to be done.
template <class Tile>
__device__ __forceinline__ bool piece_at(const Arguments& work, int n, Piece& piece) {
  const int block = blockIdx.x, steps = key_steps<Tile>(work);
  const int rounds = (work.whole + work.blocks - 1) / work.blocks;
  piece.item = block + n * work.blocks;
  piece.first = 0;
  piece.last = steps;
  piece.slot = -1;
  if (n >= rounds) {
    const int begin = share_begin(work, steps, block), end = share_begin(work, steps, block + 1);
    const int cut = begin / steps + n - rounds;
    piece.item = work.whole + cut;
    piece.first = max(begin - cut * steps, 0);
    piece.last = min(end - cut * steps, steps);
    piece.slot = (2 * block + n - rounds) * work.item_tiles;
    if (piece.first >= piece.last) return false;
  } else if (piece.item >= work.whole) {
    return false;
  }
  const int line = piece.item / work.items_per_head;
  piece.batch = line / work.heads;
  piece.head = line - piece.batch * work.heads;
  piece.begin = (piece.item - line * work.items_per_head) * work.item_rows;
  piece.end = min(work.queries, piece.begin + work.item_rows);
  piece.first_group = static_cast<int64_t>(line) * work.groups_per_head + piece.begin / work.group;
  if constexpr (Tile::kReference == Reference::kRunning) {
    // The fallback of a faster kernel: only the items that it reported.
    if (work.reports != nullptr) {
      const uint4* const reports = work.reports + static_cast<int64_t>(piece.item) * work.item_tiles;
      uint32_t any = 0;
      for (int tile = 0; piece.begin + tile * Tile::kRows < piece.end; ++tile) {
        any |= reports[tile].x | reports[tile].y | (Tile::kWarpgroups == 3 ? reports[tile].z : 0u);
      }
      return any != 0;
    }
  }
  return true;
}

template <class Tile>
constexpr int64_t kSlotFloats = Tile::kRows * (Tile::kHeadDim + 2);

}  // namespace tamias::dense_attention
