// Attention as the kernels see it: plain addresses and strides, already checked. Shapes as in tamias.h; strides count
// elements; the last dimension is contiguous.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "../common/launch.h"

namespace tamias {

// Where rows [batch, heads, tokens, :] (or statistics [batch, heads, tokens]) stand.
template <class T>
struct HeadRows {
  T* data = nullptr;  // null: an optional argument that was not given
  int64_t batch = 0, head = 0, row = 0;

  __host__ __device__ T* at(int64_t b, int64_t h, int64_t r) const { return data + b * batch + h * head + r * row; }
};

struct AttentionShape {
  int32_t batch, heads, head_dim;
  int64_t queries, keys;
  float scale;
};

// tamias_attention (no bias, not causal) where column_sums.data is null, else tamias_attention_column_sums.
struct DenseAttention {
  AttentionShape shape;
  HeadRows<const __nv_bfloat16> q, k, v;
  HeadRows<__nv_bfloat16> out;
  HeadRows<float> lse;                 // optional without column sums
  int64_t group = 0;                   // queries that share a row of column sums
  HeadRows<const float> previous_lse;  // optional; may be the same memory as lse
  float* column_sums = nullptr;        // contiguous [batch, heads, groups, keys]
};

// tamias_attention_columns.
struct ColumnAttention {
  AttentionShape shape;
  HeadRows<const __nv_bfloat16> q, k, v;
  HeadRows<__nv_bfloat16> out;
  HeadRows<float> lse;  // optional
  int64_t group = 0;
  const void* indices = nullptr;  // contiguous [batch, heads, groups, capacity], uint16_t or int32_t
  bool short_indices = false;
  int64_t capacity = 0;
  const int32_t* counts = nullptr;  // contiguous [batch, heads, groups]
  int32_t rule = 0;                 // enum tamias_cache_rule
  float beta = 1;
  HeadRows<const __nv_bfloat16> cache;  // by the rule
  HeadRows<const float> cache_lse;
  // Written (any nonzero value) where a count or an index is out of range. The kernel treats a wrong count as 0 and a
  // wrong index as the nearest right one, so that nothing outside the tensors is touched.
  uint32_t* failure = nullptr;
};

// wgmma kernels, compute capability 9.0: head_dim 64 or 128, every row of q, k, v, out and cache 16-byte aligned.
// `*_fits` says whether a problem is theirs.
bool dense_attention_sm90_fits(const DenseAttention& problem);
size_t dense_attention_sm90_workspace(const DenseAttention& problem, int multiprocessors);
cudaError_t dense_attention_sm90(const DenseAttention& problem, const Launch& launch);

bool column_attention_sm90_fits(const ColumnAttention& problem);
size_t column_attention_sm90_workspace(const ColumnAttention& problem, int multiprocessors);
cudaError_t column_attention_sm90(const ColumnAttention& problem, const Launch& launch);

}  // namespace tamias
