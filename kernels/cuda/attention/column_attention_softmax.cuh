// Softmax of a warpgroup's 64 x keys scores in wgmma's accumulator layout.
#pragma once

#include "../common/ptx_sm90.cuh"
#include "quad.cuh"

namespace tamias::column_attention {

using sm90::exp2_fast;

// How far, in powers of two, a row's scores may pass the reference of its softmax before that is raised. Raising it
// means rescaling all that has been summed; fp32 and bf16 are as exact a few hundred times above 1 as below.
constexpr float kSlack = 8;

// A thread's share of two rows: those of its accumulator registers 4j, 4j + 1 and of 4j + 2, 4j + 3.
struct RowState {
  float reference[2];  // of the exponentials, in powers of two
  float sum[2];        // of this thread's columns
};

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

}  // namespace tamias::column_attention
