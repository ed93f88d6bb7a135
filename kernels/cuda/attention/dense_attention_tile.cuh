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

template <int kHeadDim_, int kWarpgroups_, int kKeys_, bool kOverlap_, Reference kReference_, bool kSums_>
struct Tile {
  static constexpr int kHeadDim = kHeadDim_;
  static constexpr int kWarpgroups = kWarpgroups_;  // that compute
  static constexpr int kKeys = kKeys_;
  static constexpr bool kOverlap = kOverlap_;  // Q K^T of the next step runs beside this step's P V and softmax
  static constexpr Reference kReference = kReference_;
  static constexpr bool kSums = kSums_;

  static constexpr int kRows = 64 * kWarpgroups;
  static constexpr int kWarps = 4 * kWarpgroups;
  static constexpr int kThreads = 128 * (kWarpgroups + 1);
  static constexpr int kStages = 2;
  static constexpr int kPanels = kHeadDim / 64;
  static constexpr int kQueryBytes = kRows * kHeadDim * 2;
  static constexpr int kKeyBytes = kKeys * kHeadDim * 2;
  // Registers a thread: 65,536 in all.
  static constexpr int kFeederRegisters = kWarpgroups == 3 ? 32 : 40;
  static constexpr int kComputeRegisters = kWarpgroups == 3 ? 160 : 232;
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

// The work: items of `item_rows` neighbouring queries of a head (a group where column sums are wanted), head by head,
// so that blocks that run side by side read the same keys.
struct Arguments {
  CUtensorMap q, k, v;
  HeadRows<__nv_bfloat16> out;
  HeadRows<float> lse;
  HeadRows<const float> previous_lse;
  HeadRows<float> saved_previous;  // a copy of previous_lse, which lse may overwrite
  float* column_sums;
  uint4* reports;  // one an item: byte w is set where a row of warp w was out of range
  float scale_log2;
  int32_t heads;
  int32_t queries, keys;
  int32_t item_rows;
  int32_t items_per_head;
  int32_t items;
};

struct Item {
  int batch, head;
  int group;       // of its head
  int begin, end;  // queries
};

__device__ __forceinline__ Item item_at(const Arguments& work, int index) {
  Item item;
  const int line = index / work.items_per_head;
  item.group = index - line * work.items_per_head;
  item.batch = line / work.heads;
  item.head = line - item.batch * work.heads;
  item.begin = item.group * work.item_rows;
  item.end = min(work.queries, item.begin + work.item_rows);
  return item;
}

// The next item of this block from `index` on. Where the running maximum is the fallback of a faster kernel
// (`reports`), only the items that it reported.
template <class Tile>
__device__ __forceinline__ int wanted(const Arguments& work, int index) {
  if constexpr (Tile::kReference == Reference::kRunning) {
    while (work.reports != nullptr && index < work.items) {
      const uint4 report = work.reports[index];
      if ((report.x | report.y | (Tile::kWarpgroups == 3 ? report.z : 0u)) != 0) break;
      index += gridDim.x;
    }
  }
  return index;
}

}  // namespace tamias::dense_attention
