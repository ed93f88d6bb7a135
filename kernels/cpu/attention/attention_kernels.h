#pragma once

#include <stdint.h>

#include "../common/panels.h"

namespace tamias {

constexpr int64_t kBlockQueries = 128;  // the most queries of one AttentionBlock

// Attention of neighbouring queries of one head over all keys, the first keys, or a list of keys.
struct AttentionBlock {
  const float* q;
  int64_t q_stride;
  int64_t queries;
  int64_t head_dim;
  float scale;

  RowSource k, v;
  const void* indices;  // null: keys 0 .. keys - 1
  bool short_indices;   // uint16_t instead of int32_t
  int64_t keys;         // how many of the list or of the head's keys

  const float* bias;  // optional, [queries, keys]
  int64_t bias_query_stride, bias_key_stride;
  int64_t causal_from;  // position of the first query; -1: not causal

  // Epilogue: out = O (rule none), cache + beta * O, or the merge with (cache, cache_lse).
  int32_t rule;
  float beta;
  const float* cache;
  int64_t cache_stride;
  const float* cache_lse;
  int64_t cache_lse_stride;

  float* out;
  int64_t out_stride;
  float* lse;  // optional
  int64_t lse_stride;

  float* column_sums;         // optional: += sum over the queries of exp(logit - lse) for each key
  const float* previous_lse;  // used there; null: this block's own, in a second pass
  int64_t previous_lse_stride;
};

struct AttentionKernels {
  int64_t panel;  // queries that share a panel: blocks are best split at multiples of it
  int64_t (*scratch_floats)(int64_t head_dim);
  void (*attend)(const AttentionBlock& block, float* scratch);
};

namespace avx2 {
extern const AttentionKernels attention_kernels;
}
namespace avx512 {
extern const AttentionKernels attention_kernels;
}

}  // namespace tamias
