// Attention over each query group's chosen keys, for Hopper. A block stays on its multiprocessor and takes item after
// item (column_attention_schedule.cuh). Its first warpgroup gathers: the item's queries, then the chosen rows of K and
// V, tile by tile, into rings in shared memory that never stop between items. Each other warpgroup multiplies for 64
// queries: S = Q K^T, softmax, O += P V, and at the item's end merges with the cache. The warpgroups share the tiles
// and nothing else, so that one's softmax runs under another's products.
#include <climits>

#include "../common/ptx_sm90.cuh"
#include "../common/wgmma_sm90.cuh"
#include "attention_problem.h"
#include "column_attention_schedule.cuh"

namespace tamias {
namespace {

using namespace sm90;

constexpr float kLog2e = 1.4426950408889634f;
constexpr float kLn2 = 0.6931471805599453f;
constexpr float kLowest = -1e30f;
// How far, in powers of two, a row's scores may pass the reference of its softmax before that is raised. Raising it
// means rescaling all that has been summed; fp32 and bf16 are as exact a few hundred times above 1 as below.
constexpr float kSlack = 8;

// A short last tile is computed in pieces of this many keys.
constexpr int kTail = 32;

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

// ---- gathering

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

// ---- softmax

// A thread's share of two rows: those of its accumulator registers 4j, 4j + 1 and of 4j + 2, 4j + 3.
struct RowState {
  float reference[2];  // of the exponentials, in powers of two
  float sum[2];        // of this thread's columns
};

__device__ __forceinline__ float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
  return fmaxf(x, __shfl_xor_sync(~0u, x, 2));
}

__device__ __forceinline__ float quad_sum(float x) {
  x += __shfl_xor_sync(~0u, x, 1);
  return x + __shfl_xor_sync(~0u, x, 2);
}

template <int kScores, int kOutputs>
__device__ __forceinline__ void softmax_step(float (&s)[kScores], float (&o)[kOutputs], RowState& state, float scale) {
  float top[2] = {s[0], s[2]};
#pragma unroll
  for (int j = 0; j < kScores / 4; ++j) {
#pragma unroll
    for (int e = 0; e < 2; ++e) top[e] = fmaxf(top[e], fmaxf(s[4 * j + 2 * e], s[4 * j + 2 * e + 1]));
  }
  const bool passed = fmaf(top[0], scale, -state.reference[0]) > kSlack ||
                      fmaf(top[1], scale, -state.reference[1]) > kSlack;
  if (__any_sync(~0u, passed)) {
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const float raised = fmaxf(state.reference[e], quad_max(top[e]) * scale);
      const float factor = exp2_fast(state.reference[e] - raised);
      state.reference[e] = raised;
      state.sum[e] *= factor;
#pragma unroll
      for (int j = 0; j < kOutputs / 4; ++j) {
        o[4 * j + 2 * e] *= factor;
        o[4 * j + 2 * e + 1] *= factor;
      }
    }
  }
#pragma unroll
  for (int j = 0; j < kScores / 4; ++j) {
#pragma unroll
    for (int e = 0; e < 4; ++e) s[4 * j + e] = exp2_fast(fmaf(s[4 * j + e], scale, -state.reference[e / 2]));
#pragma unroll
    for (int e = 0; e < 2; ++e) state.sum[e] += s[4 * j + 2 * e] + s[4 * j + 2 * e + 1];
  }
}

// ---- an item's end

// Writes this warpgroup's partial result; where it is the item's last, adds up all of them, in the order of the chunks,
// and returns true.
template <class T>
__device__ __forceinline__ bool merge_chunks(const Arguments& a, Control<T>& control, const ColumnItem& item,
                                             int warpgroup, float (&o)[T::kHeadDim / 2], RowState& state) {
  const int thread = threadIdx.x % 128;
  constexpr size_t kWarpgroupVectors = T::kPartialVectors * 128;
  constexpr size_t kSlotVectors = T::kWarpgroups * kWarpgroupVectors;
  float4* first = a.partials + item.slot * kSlotVectors + warpgroup * kWarpgroupVectors + thread;
  float4* own = first + item.chunk * kSlotVectors;
#pragma unroll
  for (int i = 0; i < T::kHeadDim / 8; ++i) {
    own[i * 128] = make_float4(o[4 * i], o[4 * i + 1], o[4 * i + 2], o[4 * i + 3]);
  }
  own[(T::kPartialVectors - 1) * 128] =
      make_float4(state.reference[0], state.reference[1], state.sum[0], state.sum[1]);
  __threadfence();
  named_barrier(1 + warpgroup, 128);
  if (thread == 0) {
    control.arrived[warpgroup] = atomicAdd(a.finished + item.slot * 4 + warpgroup, 1);
    __threadfence();
  }
  named_barrier(1 + warpgroup, 128);
  if (control.arrived[warpgroup] + 1 != item.chunks) return false;

  float reference[2] = {kLowest, kLowest};
  for (int chunk = 0; chunk < item.chunks; ++chunk) {
    const float4 part = __ldcg(first + chunk * kSlotVectors + (T::kPartialVectors - 1) * 128);
    reference[0] = fmaxf(reference[0], part.x);
    reference[1] = fmaxf(reference[1], part.y);
  }
#pragma unroll
  for (int i = 0; i < T::kHeadDim / 2; ++i) o[i] = 0;
  state = {{reference[0], reference[1]}, {0, 0}};
  for (int chunk = 0; chunk < item.chunks; ++chunk) {
    const float4* from = first + chunk * kSlotVectors;
    const float4 part = __ldcg(from + (T::kPartialVectors - 1) * 128);
    const float weight[2] = {exp2_fast(part.x - reference[0]), exp2_fast(part.y - reference[1])};
    state.sum[0] += part.z * weight[0];
    state.sum[1] += part.w * weight[1];
#pragma unroll
    for (int i = 0; i < T::kHeadDim / 8; ++i) {
      const float4 x = __ldcg(from + i * 128);
      o[4 * i] += x.x * weight[0];
      o[4 * i + 1] += x.y * weight[0];
      o[4 * i + 2] += x.z * weight[1];
      o[4 * i + 3] += x.w * weight[1];
    }
  }
  return true;
}

// The staging of an item's results, in place of the warpgroup's queries: a warp handles its own 16 rows.
template <class T>
struct Staging {
  static constexpr int kStepRows = 32 / T::kRowChunks;  // rows that a warp copies at once

  uint32_t base;
  int warp_row, lane;

  __device__ __forceinline__ uint32_t place(int row, int chunk) const {
    return base + chunk / 8 * (64 * 128) + row * 128 + ((chunk % 8 ^ row % 8) << 4);
  }
  // Of ldmatrix and stmatrix for columns 16 * block and on: four 8 x 8 blocks, rows first.
  __device__ __forceinline__ uint32_t matrix(int block) const {
    return place(warp_row + lane % 16, 2 * block + lane / 16);
  }

  // Rows of this warp that exist, of `first` and on in the item.
  __device__ __forceinline__ int rows(const ColumnItem& item, int first) const {
    return min(static_cast<int>(item.rows) - first - warp_row, 16);
  }

  template <class Row>
  __device__ __forceinline__ Row* lane_start(const HeadRows<Row>& rows, const ColumnItem& item, int first) const {
    return rows.at(item.batch, item.head, item.first_row + first + warp_row + lane / T::kRowChunks) +
           lane % T::kRowChunks * 8;
  }

  // The loops stay loops: this code runs once an item, and fetching it would take longer than running it.
  __device__ __forceinline__ void load(const HeadRows<const __nv_bfloat16>& rows_from, const ColumnItem& item,
                                       int first) const {
    const __nv_bfloat16* from = lane_start(rows_from, item, first);
    const int end = rows(item, first);
#pragma unroll 1
    for (int row = lane / T::kRowChunks; row < end; row += kStepRows, from += kStepRows * rows_from.row) {
      copy16(place(warp_row + row, lane % T::kRowChunks), from);
    }
  }

  __device__ __forceinline__ void store(const HeadRows<__nv_bfloat16>& rows_to, const ColumnItem& item,
                                        int first) const {
    __nv_bfloat16* to = lane_start(rows_to, item, first);
    const int end = rows(item, first);
#pragma unroll 2
    for (int row = lane / T::kRowChunks; row < end; row += kStepRows, to += kStepRows * rows_to.row) {
      uint4 value;
      asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                   : "=r"(value.x), "=r"(value.y), "=r"(value.z), "=r"(value.w)
                   : "r"(place(warp_row + row, lane % T::kRowChunks)));
      *reinterpret_cast<uint4*>(to) = value;
    }
  }
};

__device__ __forceinline__ float2 unpack_bf16(uint32_t pair) {
  return make_float2(__uint_as_float(pair << 16), __uint_as_float(pair & 0xFFFF0000u));
}

template <class T>
__device__ __forceinline__ void finish(const ColumnAttention& p, const ColumnItem& item, const Staging<T>& staging,
                                       int warpgroup, float (&o)[T::kHeadDim / 2], RowState& state) {
  const int first = warpgroup * 64;
  float own_weight[2], cache_weight[2];
#pragma unroll
  for (int e = 0; e < 2; ++e) {
    const int row = first + staging.warp_row + staging.lane / 4 + 8 * e;
    const bool real = row < item.rows;
    const float sum = quad_sum(state.sum[e]);
    float total = sum > 0 ? state.reference[e] + __log2f(sum) : -INFINITY;
    own_weight[e] = sum > 0 ? __fdividef(1, sum) : 0;
    cache_weight[e] = 0;
    if (p.rule == kControl) {
      own_weight[e] *= p.beta;
      cache_weight[e] = 1;
    } else if (p.rule == kLogSumExp && real) {
      const float rest = *p.cache_lse.at(item.batch, item.head, item.first_row + row) * kLog2e;
      const float reference = fmaxf(total, rest);
      if (reference > -INFINITY) {
        const float own_share = exp2_fast(total - reference), rest_share = exp2_fast(rest - reference);
        const float shares = own_share + rest_share;
        own_weight[e] *= __fdividef(own_share, shares);
        cache_weight[e] = __fdividef(rest_share, shares);
        total = reference + __log2f(shares);
      }
    }
    if (p.lse.data && real && staging.lane % 4 == 0) {
      *p.lse.at(item.batch, item.head, item.first_row + row) = total * kLn2;
    }
  }
  if (p.rule != kNone) asm volatile("cp.async.wait_all;" ::: "memory");
  __syncwarp();
#pragma unroll
  for (int block = 0; block < T::kHeadDim / 16; ++block) {
    const uint32_t place = staging.matrix(block);
    float cached[8] = {};
    if (p.rule != kNone) {
      uint32_t packed[4];
      asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                   : "=r"(packed[0]), "=r"(packed[1]), "=r"(packed[2]), "=r"(packed[3])
                   : "r"(place)
                   : "memory");
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        // A weight of zero leaves out even a cache that is not a number.
        const float2 pair = unpack_bf16(cache_weight[i % 2] == 0 ? 0 : packed[i]);
        cached[2 * i] = pair.x * cache_weight[i % 2];
        cached[2 * i + 1] = pair.y * cache_weight[i % 2];
      }
    }
    uint32_t merged[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const float weight = own_weight[i % 2];
      merged[i] = pack_bf16(fmaf(o[8 * block + 2 * i], weight, cached[2 * i]),
                            fmaf(o[8 * block + 2 * i + 1], weight, cached[2 * i + 1]));
    }
    asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(place), "r"(merged[0]),
                 "r"(merged[1]), "r"(merged[2]), "r"(merged[3])
                 : "memory");
  }
  __syncwarp();
  staging.store(p.out, item, first);
}

// ---- products

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

// ---- host

constexpr int64_t kCacheBytes = int64_t{48} << 20;  // of L2, that keys and values in use may fill

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// How groups are cut into items, and the workspace.
struct Plan {
  int warpgroups;
  int64_t lists, groups, rows, most_items, heads_at_once;
  int grid, slots;
  size_t next_at, finished_at, items_at, partials_at, bytes;

  Plan(const ColumnAttention& p, int multiprocessors) {
    groups = divide_up(p.shape.queries, p.group);
    lists = groups * p.shape.heads * p.shape.batch;
    const int64_t parts = divide_up(p.group, 192);
    rows = divide_up(divide_up(p.group, parts), 64) * 64;
    warpgroups = rows > 128 ? 3 : 2;
    grid = multiprocessors;
    slots = 3 * grid;
    most_items = lists * divide_up(p.group, rows) + slots;
    const int64_t head_bytes = p.shape.keys * p.shape.head_dim * 4;
    heads_at_once = head_bytes >= kCacheBytes ? 1 : kCacheBytes / (head_bytes > 0 ? head_bytes : 1);
    const auto place = [this](size_t size) {
      const size_t at = bytes;
      bytes += (size + 255) / 256 * 256;
      return at;
    };
    bytes = 0;
    next_at = place(sizeof(uint32_t));
    finished_at = place(slots * 4 * sizeof(uint32_t));
    items_at = place((most_items + grid) * sizeof(ColumnItem));
    partials_at = place(slots * (warpgroups * (p.shape.head_dim / 8 + 1) * 128 * sizeof(float4)));
  }
};

template <class Kernel, class... Arguments>
cudaError_t launch_kernel(Kernel* kernel, int grid, int threads, int shared, cudaStream_t stream, bool early,
                          const Arguments&... arguments) {
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = threads;
  config.dynamicSmemBytes = shared;
  config.stream = stream;
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &attribute;
  config.numAttrs = early ? 1 : 0;
  return cudaLaunchKernelEx(&config, kernel, arguments...);
}

template <class T>
cudaError_t attend(const ColumnAttention& problem, const Launch& launch) {
  const Plan plan(problem, launch.multiprocessors);
  ColumnSchedule schedule{};
  schedule.counts = problem.counts;
  schedule.capacity = problem.capacity;
  schedule.lists = static_cast<int32_t>(plan.lists);
  schedule.heads = problem.shape.heads;
  schedule.groups = static_cast<int32_t>(plan.groups);
  schedule.group = static_cast<int32_t>(problem.group < problem.shape.queries ? problem.group : problem.shape.queries);
  schedule.queries = static_cast<int32_t>(problem.shape.queries);
  schedule.keys = static_cast<int32_t>(problem.shape.keys);
  schedule.rows = static_cast<int32_t>(plan.rows);
  schedule.tile = T::kKeys;
  schedule.heads_at_once = static_cast<int32_t>(plan.heads_at_once);
  schedule.grid = plan.grid;
  schedule.slots = plan.slots;
  schedule.failure = problem.failure;
  schedule.next = reinterpret_cast<uint32_t*>(launch.workspace + plan.next_at);
  schedule.finished = reinterpret_cast<uint32_t*>(launch.workspace + plan.finished_at);
  schedule.items = reinterpret_cast<ColumnItem*>(launch.workspace + plan.items_at);
  const int64_t sets = divide_up(int64_t{problem.shape.batch} * problem.shape.heads, plan.heads_at_once);
  cudaError_t error = launch_kernel(schedule_columns, static_cast<int>(sets + 1), kScheduleThreads, 0, launch.stream,
                                    false, schedule);
  if (error != cudaSuccess) return error;

  const Arguments arguments{problem, schedule.items, schedule.next, schedule.finished,
                            reinterpret_cast<float4*>(launch.workspace + plan.partials_at)};
  constexpr int kShared = shared_bytes<T>();
  error = cudaFuncSetAttribute(attend_columns<T>, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared);
  if (error != cudaSuccess) return error;
  return launch_kernel(attend_columns<T>, plan.grid, T::kThreads, kShared, launch.stream, true, arguments);
}

template <class T>
bool rows_aligned(const HeadRows<T>& rows) {
  return reinterpret_cast<uintptr_t>(rows.data) % 16 == 0 && rows.batch % 8 == 0 && rows.head % 8 == 0 &&
         rows.row % 8 == 0;
}

bool gatherable(const HeadRows<const __nv_bfloat16>& rows) { return rows_aligned(rows) && rows.row <= INT_MAX / 2; }

}  // namespace

bool column_attention_sm90_fits(const ColumnAttention& p) {
  const AttentionShape& shape = p.shape;
  const int64_t longest = INT_MAX - 4096;
  return (shape.head_dim == 64 || shape.head_dim == 128) && shape.scale > 0 && shape.queries > 0 &&
         shape.queries < longest && shape.keys > 0 && shape.keys < longest && p.group > 0 && p.group < longest &&
         divide_up(shape.queries, p.group) * shape.heads * shape.batch < longest && gatherable(p.q) &&
         gatherable(p.k) && gatherable(p.v) && rows_aligned(p.out) && (p.rule == kNone || rows_aligned(p.cache));
}

size_t column_attention_sm90_workspace(const ColumnAttention& problem, int multiprocessors) {
  return Plan(problem, multiprocessors).bytes;
}

cudaError_t column_attention_sm90(const ColumnAttention& problem, const Launch& launch) {
  const bool wide = Plan(problem, launch.multiprocessors).warpgroups == 3;
  if (problem.shape.head_dim == 128) {
    return wide ? attend<Tiles<128, 3>>(problem, launch) : attend<Tiles<128, 2>>(problem, launch);
  }
  return wide ? attend<Tiles<64, 3>>(problem, launch) : attend<Tiles<64, 2>>(problem, launch);
}

}  // namespace tamias
