// The warpgroups that multiply, and the kernel.
#pragma once

#include "../common/wgmma_sm90.cuh"
#include "column_attention_gather.cuh"
#include "column_attention_merge.cuh"
#include "column_attention_result.cuh"

namespace tamias::column_attention {

// A short last tile is computed in pieces of this many keys.
constexpr int kTail = 32;

template <class T>
struct Consumer {
  const Arguments& a;
  uint32_t shared;
  Control<T>& control;
  int warpgroup, lane;
  float scale;
  uint32_t tile_number = 0;  // of all the tiles of this block
  float o[T::kHeadDim / 2];
  RowState state;

  __device__ __forceinline__ void release(uint64_t* barrier) const {
    __syncwarp();
    if (lane == 0) barrier_arrive(barrier);
  }

  // kWidth keys of the current tile, from `first` on. kMask: only `valid` of them are keys. `ends_tile`, `ends_item`:
  // no more of the tile, or of the item, follows; the item's queries are then done with, and `queries_done` runs.
  template <int kWidth, bool kMask, class Done>
  __device__ __forceinline__ void keys(uint64_t query_tile, int first, int valid, bool ends_tile, bool ends_item,
                                       const Done& queries_done) {
    const Turn<T::kStages> turn(tile_number);
    float s[kWidth / 2];
    barrier_wait(&control.keys_full[turn.stage], turn.parity);
    fence_async();
    const uint64_t key_tile = swizzled_tile(shared + T::kKeysAt + turn.stage * T::kTileBytes + first * 128, 16);
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < T::kHeadDim / 16; ++step) {
      Wgmma<kWidth>::template ss<0, 0>(s, advance(query_tile, step / 4 * (64 * 128) + step % 4 * 32),
                                       advance(key_tile, step / 4 * (T::kKeys * 128) + step % 4 * 32), step > 0);
    }
    wgmma_commit();
    wgmma_wait<0>();
    hold(s);
    if (ends_tile) release(&control.keys_empty[turn.stage]);

    if (kMask) {
#pragma unroll
      for (int i = 0; i < kWidth / 2; ++i) {
        if (i / 4 * 8 + i % 2 >= valid - 2 * (lane % 4)) s[i] = -INFINITY;
      }
    }
    softmax_step(s, o, state, scale);
    uint32_t weights[kWidth / 16][4];
#pragma unroll
    for (int i = 0; i < kWidth / 4; ++i) weights[i / 4][i % 4] = pack_bf16(s[2 * i], s[2 * i + 1]);
    if (ends_item) queries_done();

    barrier_wait(&control.values_full[turn.stage], turn.parity);
    fence_async();
    const uint64_t value_tile =
        swizzled_tile(shared + T::kValuesAt + turn.stage * T::kTileBytes + first * 128, T::kKeys * 128);
    hold(o);
    wgmma_fence();
#pragma unroll
    for (int step = 0; step < kWidth / 16; ++step) {
      Wgmma<T::kHeadDim>::template rs<1>(o, weights[step], advance(value_tile, step * 2048));
    }
    wgmma_commit();
    wgmma_wait<0>();
    hold(o);
    if (ends_tile) {
      release(&control.values_empty[turn.stage]);
      ++tile_number;
    }
  }

  // A warpgroup without queries in the item only frees its tiles.
  __device__ __forceinline__ void pass_tiles(int count) {
    for (; count > 0; count -= T::kKeys, ++tile_number) {
      const Turn<T::kStages> turn(tile_number);
      barrier_wait(&control.keys_full[turn.stage], turn.parity);
      release(&control.keys_empty[turn.stage]);
      barrier_wait(&control.values_full[turn.stage], turn.parity);
      release(&control.values_empty[turn.stage]);
    }
  }

  __device__ __forceinline__ void run() {
    const ColumnAttention& p = a.problem;
    for (uint32_t number = 0;; ++number) {
      const Turn<T::kItemSlots> slot(number);
      const Turn<T::kQueryBuffers> buffer(number);
      barrier_wait(&control.item_full[slot.stage], slot.parity);
      const ColumnItem& item = control.items[slot.stage];
      if (item.chunks == 0) break;
      const uint32_t query_base = shared + buffer.stage * T::kQueryBytes + warpgroup * T::kWarpgroupQueryBytes;
      const Staging<T> staging{query_base, static_cast<int>(threadIdx.x % 128 / 32 * 16), lane};
#pragma unroll
      for (int i = 0; i < T::kHeadDim / 2; ++i) o[i] = 0;
      state = {{kLowest, kLowest}, {0, 0}};
      barrier_wait(&control.queries_full[buffer.stage], buffer.parity);
      fence_async();

      const uint64_t query_tile = swizzled_tile(query_base, 16);
      const auto load_cache = [&] {
        if (p.rule != kNone && item.chunks == 1) staging.load(p.cache, item, warpgroup * 64);
      };
      if (item.rows <= warpgroup * 64) {
        pass_tiles(item.keys);
      } else if (item.keys > 0) {
        const auto queries_done = [&] {
          // All four warps have multiplied with the queries: their place takes the cache, then the results.
          named_barrier(1 + warpgroup, 128);
          load_cache();
        };
        int left = item.keys;
        for (; left >= T::kKeys; left -= T::kKeys) {
          keys<T::kKeys, false>(query_tile, 0, left, true, left == T::kKeys, queries_done);
        }
        for (int first = 0; left > 0; first += kTail, left -= kTail) {
          keys<kTail, true>(query_tile, first, left, left <= kTail, left <= kTail, queries_done);
        }
      } else {
        load_cache();
      }

      bool last = item.rows > warpgroup * 64;
      if (last && item.chunks > 1) {
        last = merge_chunks(a, control, item, warpgroup, o, state);
        if (last && p.rule != kNone) staging.load(p.cache, item, warpgroup * 64);
      }
      if (last) finish<T>(p, item, staging, warpgroup, o, state);
      release(&control.queries_empty[buffer.stage]);
      if (lane == 0) barrier_arrive(&control.item_empty[slot.stage]);
    }
  }
};

template <class T>
__global__ void __launch_bounds__(T::kThreads, 1) attend_columns(const __grid_constant__ Arguments a) {
  extern __shared__ __align__(1024) char memory[];
  const uint32_t shared = shared_address(memory);
  Control<T>& control = *reinterpret_cast<Control<T>*>(memory + T::kControlAt);
  if (threadIdx.x == 0) {
    constexpr int kConsumerWarps = 4 * T::kWarpgroups;
    for (int i = 0; i < T::kItemSlots; ++i) {
      barrier_init(&control.item_full[i], 1);
      barrier_init(&control.item_empty[i], kConsumerWarps + 4);
    }
    for (int i = 0; i < T::kQueryBuffers; ++i) {
      barrier_init(&control.queries_full[i], 128);
      barrier_init(&control.queries_empty[i], kConsumerWarps);
    }
    for (int i = 0; i < T::kStages; ++i) {
      barrier_init(&control.keys_full[i], 128);
      barrier_init(&control.keys_empty[i], kConsumerWarps);
      barrier_init(&control.values_full[i], 128);
      barrier_init(&control.values_empty[i], kConsumerWarps);
    }
    barrier_init_fence();
  }
  __syncthreads();
  asm volatile("griddepcontrol.wait;" ::: "memory");  // for schedule_columns
  if (threadIdx.x < 128) {
    give_registers<T::kProducerRegisters>();
    produce<T>(a, shared, control);
  } else {
    take_registers<T::kConsumerRegisters>();
    Consumer<T>{a, shared, control, static_cast<int>(threadIdx.x / 128) - 1, static_cast<int>(threadIdx.x % 32),
                a.problem.shape.scale * kLog2e}
        .run();
  }
}

}  // namespace tamias::column_attention
