// An item's end: its result merged with the cache, and stored.
#pragma once

#include "column_attention_softmax.cuh"
#include "column_attention_tile.cuh"

namespace tamias::column_attention {

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

}  // namespace tamias::column_attention
