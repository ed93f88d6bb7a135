// The first warpgroup: queries, keys and values into shared memory.
#pragma once

#include "column_attention_tile.cuh"

namespace tamias::column_attention {

template <class T>
struct Gather {
  // Eight threads copy 128 bytes of a row; a thread's place in the swizzled tile moves by a constant from pass to pass.
  static constexpr int kPassRows = 16, kWarpRows = 4;

  int lane, row;
  uint32_t from_offset, to_offset;

  __device__ __forceinline__ explicit Gather(int thread)
      : lane(thread % 32),
        row(thread / 8),
        from_offset(thread % 8 * 16),
        to_offset(row * 128 + ((thread % 8 ^ row % 8) << 4)) {}

  // The row of a tile whose index this lane holds for its warp.
  __device__ __forceinline__ int own_row() const {
    return lane / kWarpRows * kPassRows + row / kWarpRows * kWarpRows + lane % kWarpRows;
  }

  // kAll: every lane's index is a row; else only the first `count` rows of the tile are, and the others become zeros.
  template <bool kAll>
  __device__ __forceinline__ void tile(uint32_t to, const __nv_bfloat16* rows, uint32_t row_bytes, uint32_t own_index,
                                       int count) const {
    const char* base = reinterpret_cast<const char*>(rows) + from_offset;
    to += to_offset;
#pragma unroll
    for (int pass = 0; pass < T::kKeys / kPassRows; ++pass) {
      const uint32_t index = __shfl_sync(~0u, own_index, pass * kWarpRows + lane / 8);
      const char* from = base + static_cast<uint64_t>(index) * row_bytes;
      const uint32_t bytes = kAll || pass * kPassRows + row < count ? 16 : 0;
#pragma unroll
      for (int panel = 0; panel < T::kPanels; ++panel) {
        copy16(to + panel * (T::kKeys * 128) + pass * kPassRows * 128, from + panel * 128, bytes);
      }
    }
  }

  __device__ __forceinline__ void tile(uint32_t to, const __nv_bfloat16* rows, uint32_t row_bytes, uint32_t own_index,
                                       int count) const {
    if (count >= T::kKeys) {
      tile<true>(to, rows, row_bytes, own_index, count);
    } else {
      tile<false>(to, rows, row_bytes, own_index, count);
    }
  }

  __device__ __forceinline__ void queries(uint32_t to, const __nv_bfloat16* rows, uint32_t row_bytes,
                                          int count) const {
    const char* base = reinterpret_cast<const char*>(rows) + from_offset;
    to += to_offset;
#pragma unroll
    for (int pass = 0; pass < T::kRows / kPassRows; ++pass) {
      const int r = pass * kPassRows + row;
      const char* from = base + static_cast<uint64_t>(r < count ? r : 0) * row_bytes;
#pragma unroll
      for (int panel = 0; panel < T::kPanels; ++panel) {
        copy16(to + pass / 4 * T::kWarpgroupQueryBytes + panel * (64 * 128) + pass % 4 * kPassRows * 128,
               from + panel * 128, r < count ? 16 : 0);
      }
    }
  }
};

template <class T>
__device__ __forceinline__ void produce(const Arguments& a, uint32_t shared, Control<T>& control) {
  const ColumnAttention& p = a.problem;
  const Gather<T> gather(threadIdx.x);
  const int own_row = gather.own_row();
  const auto fetch_item = [&](uint32_t number, int slot) {
    const uint32_t to = shared_address(&control.items[slot]);
    copy16(to, a.items + number);
    copy16(to + 16, reinterpret_cast<const char*>(a.items + number) + 16);
    barrier_arrive_after_copies(&control.item_full[slot]);
  };
  if (threadIdx.x == 0) fetch_item(blockIdx.x, 0);

  uint32_t number = 0, tile_number = 0;  // of this block's items and of all their tiles
  for (;; ++number) {
    const Turn<T::kItemSlots> slot(number);
    barrier_wait(&control.item_full[slot.stage], slot.parity);
    const ColumnItem& item = control.items[slot.stage];
    if (item.chunks == 0) break;
    const int batch = item.batch, head = item.head, list = item.list;
    const int end = item.first_key + item.keys;
    // Lanes past the end repeat the last key; its copies are zeros.
    int position = item.first_key + own_row;
    const auto load_index = [&]() -> uint32_t {
      const int at = min(position, end - 1);
      position += T::kKeys;
      if (list < 0) return at;
      const int64_t entry = static_cast<int64_t>(list) * p.capacity + at;
      return p.short_indices ? __ldg(static_cast<const uint16_t*>(p.indices) + entry)
                             : static_cast<uint32_t>(__ldg(static_cast<const int32_t*>(p.indices) + entry));
    };
    const int tiles = (item.keys + T::kKeys - 1) / T::kKeys;
    uint32_t index = 0, loaded = 0, previous = 0, claimed = 0;
    if (tiles > 0) loaded = load_index();
    {
      const Turn<T::kQueryBuffers> buffer(number);
      barrier_wait(&control.queries_empty[buffer.stage], buffer.parity ^ 1);
      gather.queries(shared + buffer.stage * T::kQueryBytes, p.q.at(batch, head, item.first_row),
                     static_cast<uint32_t>(p.q.row) * 2, item.rows);
      barrier_arrive_after_copies(&control.queries_full[buffer.stage]);
    }
    const __nv_bfloat16* k = p.k.at(batch, head, 0);
    const __nv_bfloat16* v = p.v.at(batch, head, 0);
    for (int tile = 0; tile <= tiles; ++tile) {
      if (threadIdx.x == 0) {
        // Taken late, so that a block with much to do holds no other item back.
        if (tile == max(tiles - 3, 0)) claimed = atomicAdd(a.next, 1);
        if (tile == max(tiles - 1, 0)) {
          const Turn<T::kItemSlots> following(number + 1);
          barrier_wait(&control.item_empty[following.stage], following.parity ^ 1);
          fetch_item(claimed, following.stage);
        }
      }
      previous = index;
      if (tile < tiles) {
        index = loaded;
        if (index >= p.shape.keys) {
          *p.failure = 1;
          index = static_cast<int32_t>(index) < 0 ? 0 : static_cast<uint32_t>(p.shape.keys - 1);
        }
        if (tile + 1 < tiles) loaded = load_index();
      }
      if (tile < tiles) {
        const Turn<T::kStages> turn(tile_number);
        barrier_wait(&control.keys_empty[turn.stage], turn.parity ^ 1);
        gather.tile(shared + T::kKeysAt + turn.stage * T::kTileBytes, k, static_cast<uint32_t>(p.k.row) * 2, index,
                    item.keys - tile * T::kKeys);
        barrier_arrive_after_copies(&control.keys_full[turn.stage]);
      }
      if (tile > 0) {
        const Turn<T::kStages> turn(tile_number - 1);
        barrier_wait(&control.values_empty[turn.stage], turn.parity ^ 1);
        gather.tile(shared + T::kValuesAt + turn.stage * T::kTileBytes, v, static_cast<uint32_t>(p.v.row) * 2,
                    previous, item.keys - (tile - 1) * T::kKeys);
        barrier_arrive_after_copies(&control.values_full[turn.stage]);
      }
      if (tile < tiles) ++tile_number;
    }
    __syncwarp();
    if (gather.lane == 0) barrier_arrive(&control.item_empty[slot.stage]);
  }
}

}  // namespace tamias::column_attention
