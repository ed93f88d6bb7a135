// Attention over each query group's chosen keys, for Hopper: the shape of a block's work, and what its warpgroups share.
//
// A block stays on its multiprocessor and takes item after item (column_attention_schedule.cuh). Its first warpgroup
// gathers: the item's queries, then the chosen rows of K and V, tile by tile, into rings in shared memory that never
// stop between items. Each other warpgroup multiplies for 64 queries: S = Q K^T, softmax, O += P V, and at the item's
// end merges with the cache. The warpgroups share the tiles and nothing else, so that one's softmax runs under another's
// products.
#pragma once

#include "../common/ptx_sm90.cuh"
#include "attention_problem.h"
#include "column_attention_schedule.cuh"

namespace tamias::column_attention {

using namespace sm90;

constexpr float kLog2e = 1.4426950408889634f;
constexpr float kLn2 = 0.6931471805599453f;
constexpr float kLowest = -1e30f;

enum : int { kNone = 0, kControl = 1, kLogSumExp = 2 };  // tamias_cache_rule

template <int kHeadDim_, int kWarpgroups_>
struct Tiles {
  static constexpr int kHeadDim = kHeadDim_, kWarpgroups = kWarpgroups_;
  static constexpr int kRows = 64 * kWarpgroups;
  static constexpr int kKeys = 128;
  static constexpr int kThreads = 128 * (kWarpgroups + 1);
  static constexpr int kStages = 2, kQueryBuffers = 2, kItemSlots = 4;
  static constexpr int kProducerRegisters = kWarpgroups == 3 ? 32 : 56;
  static constexpr int kConsumerRegisters = kWarpgroups == 3 ? 160 : 224;

  static constexpr int kRowChunks = kHeadDim / 8;  // of 16 bytes
  static constexpr int kPanels = kHeadDim / 64;    // of 128 bytes of every row
  static constexpr int kWarpgroupQueryBytes = 64 * kHeadDim * 2;
  static constexpr int kQueryBytes = kWarpgroups * kWarpgroupQueryBytes;
  static constexpr int kTileBytes = kKeys * kHeadDim * 2;
  static constexpr int kKeysAt = kQueryBuffers * kQueryBytes;
  static constexpr int kValuesAt = kKeysAt + kStages * kTileBytes;
  static constexpr int kControlAt = kValuesAt + kStages * kTileBytes;
  // A partial result: 64 x head_dim sums and the softmax's state, as the warpgroup's threads hold them.
  static constexpr int kPartialVectors = kHeadDim / 8 + 1;
};

template <class T>
struct Control {
  uint64_t item_full[T::kItemSlots], item_empty[T::kItemSlots];
  uint64_t queries_full[T::kQueryBuffers], queries_empty[T::kQueryBuffers];
  uint64_t keys_full[T::kStages], keys_empty[T::kStages];
  uint64_t values_full[T::kStages], values_empty[T::kStages];
  uint32_t arrived[T::kWarpgroups];
  ColumnItem items[T::kItemSlots];
};

template <class T>
constexpr int shared_bytes() {
  return T::kControlAt + static_cast<int>(sizeof(Control<T>));
}

struct Arguments {
  ColumnAttention problem;
  ColumnItem* items;
  uint32_t* next;
  uint32_t* finished;
  float4* partials;
};

// The n-th use of a ring: its stage, and the parity of its barrier's phase.
template <int kStages>
struct Turn {
  static_assert((kStages & (kStages - 1)) == 0);
  int stage;
  uint32_t parity;

  __device__ __forceinline__ explicit Turn(uint32_t n) : stage(n % kStages), parity(n / kStages % 2) {}
};

}  // namespace tamias::column_attention
