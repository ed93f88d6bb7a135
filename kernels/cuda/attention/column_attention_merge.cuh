// An item that was cut into chunks: its partial results become one.
#pragma once

#include "column_attention_softmax.cuh"
#include "column_attention_tile.cuh"

namespace tamias::column_attention {

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

}  // namespace tamias::column_attention
