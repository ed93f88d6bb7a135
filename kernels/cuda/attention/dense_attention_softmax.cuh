// Softmax of a warpgroup's 64 x kKeys logits in wgmma's accumulator layout: a thread holds parts of two rows, and a
// quad of neighbouring lanes holds a row.
#pragma once

#include <cmath>

#include "../common/ptx_sm90.cuh"
#include "dense_attention_tile.cuh"
#include "quad.cuh"

namespace tamias::dense_attention {

constexpr float kLog2E = 1.4426950408889634f;
constexpr float kLn2 = 0.69314718055994531f;

// Whether a row's reference was near enough: P neither overflowed nor vanished.
__device__ __forceinline__ bool in_range(float total) { return total > 0x1p-80f && total < 0x1p+80f; }

// Logits of keys from `valid` on leave the softmax.
template <int N>
__device__ __forceinline__ void mask_keys(float (&s)[N], int valid) {
  const int column = 2 * (threadIdx.x % 4);
#pragma unroll
  for (int j = 0; j < N / 4; ++j) {
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      if (8 * j + column + e % 2 >= valid) s[4 * j + e] = -INFINITY;
    }
  }
}

template <int N>
__device__ __forceinline__ void largest(const float (&s)[N], float (&top)[2]) {
  top[0] = fmaxf(s[0], s[1]);
  top[1] = fmaxf(s[2], s[3]);
#pragma unroll
  for (int j = 1; j < N / 4; ++j) {
    top[0] = fmaxf(top[0], fmaxf(s[4 * j], s[4 * j + 1]));
    top[1] = fmaxf(top[1], fmaxf(s[4 * j + 2], s[4 * j + 3]));
  }
  top[0] = quad_max(top[0]);
  top[1] = quad_max(top[1]);
}

// Base-2 throughout: `reference` is scaled logits times log2(e), and P = exp2(s * scale_log2 - reference).
template <Reference kReference>
struct Softmax {
  float reference[2];  // row g and row g + 8 of the warp
  float total[2];      // this thread's part of the row's sum

  // `given`: the rows' references for kGiven; +infinity empties a row.
  __device__ void begin(const float (&given)[2]) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      reference[r] = kReference == Reference::kGiven ? given[r] : -INFINITY;
      total[r] = 0;
    }
  }

  // Sets the references for the logits s. `rescale` is what O so far must be multiplied by (kRunning only).
  template <int N>
  __device__ void refer(const float (&s)[N], float scale_log2, bool first, float (&rescale)[2]) {
    if constexpr (kReference == Reference::kRunning) {
      float top[2];
      largest(s, top);
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const float now = fmaxf(reference[r], top[r] * scale_log2);
        rescale[r] = sm90::exp2_fast(reference[r] - now);
        total[r] *= rescale[r];
        reference[r] = now;
      }
    } else if constexpr (kReference == Reference::kAnchored) {
      if (first) {
        float top[2];
        largest(s, top);
        reference[0] = top[0] * scale_log2;
        reference[1] = top[1] * scale_log2;
      }
    }
  }

  // The logits become P.
  template <int N>
  __device__ void exponentiate(float (&s)[N], float scale_log2) {
#pragma unroll
    for (int i = 0; i < N; ++i) {
      s[i] = sm90::exp2_fast(fmaf(s[i], scale_log2, -reference[i % 4 / 2]));
      total[i % 4 / 2] += s[i];
    }
  }

  // The rows' sums, complete.
  __device__ void finish() {
    total[0] = quad_sum(total[0]);
    total[1] = quad_sum(total[1]);
  }

  __device__ bool trusted(int r) const { return kReference == Reference::kRunning || in_range(total[r]); }
};

}  // namespace tamias::dense_attention
