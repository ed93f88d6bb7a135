// Attention for the kernels that take anything the ABI allows: one problem for tamias_attention and
// tamias_attention_columns, and the column sums of a finished attention as a problem of their own.
#pragma once

#include "../mask/column_list.cuh"
#include "attention_problem.h"

namespace tamias {

template <class T>
struct Attention {
  AttentionShape shape;
  HeadRows<const T> q, k, v;
  HeadRows<T> out;
  HeadRows<float> lse;  // optional
  int64_t group = 0;    // queries that share a list of keys; dense: all queries
  ColumnLists lists;    // [batch, heads, groups]
  const float* bias = nullptr;
  int64_t bias_head = 0, bias_query = 0, bias_key = 0;
  bool causal = false;
  int32_t rule = TAMIAS_CACHE_NONE;
  float beta = 1;
  HeadRows<const T> cache;
  HeadRows<const float> cache_lse;
};

// sums[b, h, group, key] = sum over the group's queries of exp(scale * q k - lse).
template <class T>
struct ColumnSums {
  AttentionShape shape;
  HeadRows<const T> q, k;
  HeadRows<const float> lse;
  int64_t group = 0;
  float* sums = nullptr;  // contiguous [batch, heads, groups, keys]
};

// Whether every row starts at a multiple of 16 bytes.
template <class T>
bool aligned16(const HeadRows<T>& rows) {
  constexpr int64_t kElements = 16 / sizeof(T);
  return reinterpret_cast<uintptr_t>(rows.data) % 16 == 0 && rows.batch % kElements == 0 &&
         rows.head % kElements == 0 && rows.row % kElements == 0;
}

// Tensor cores from compute capability 8.0 on: bf16, rows aligned to 16 bytes, head_dim a multiple of 8.
bool attention_mma_fits(const Attention<__nv_bfloat16>& problem);
cudaError_t attention_mma(const Attention<__nv_bfloat16>& problem, cudaStream_t stream);
bool column_sums_mma_fits(const ColumnSums<__nv_bfloat16>& problem);
cudaError_t column_sums_mma(const ColumnSums<__nv_bfloat16>& problem, cudaStream_t stream);

// Everything else, in fp32 throughout.
template <class T>
cudaError_t attention_plain(const Attention<T>& problem, cudaStream_t stream);
template <class T>
cudaError_t column_sums_plain(const ColumnSums<T>& problem, cudaStream_t stream);

}  // namespace tamias
