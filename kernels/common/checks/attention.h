// The forms of attention.
#pragma once

#include "column_mask.h"

namespace tamias {

// What they share. q, k, v and out are of one dtype.
struct AttentionHeads {
  View q, k, v, out;
  int64_t batch = 0, heads = 0, queries = 0, keys = 0, head_dim = 0;
  float scale = 0;

  AttentionHeads(const Op& op, const tamias_tensor* q, const tamias_tensor* k, const tamias_tensor* v, float scale,
                 const tamias_tensor* out);

  bool empty() const { return out.empty(); }

  // A [batch, heads, queries] argument; absent if null.
  View row_statistic(const Op& op, const char* name, const tamias_tensor* tensor, bool written) const;
};

struct AttentionArguments : AttentionHeads {
  View bias;  // optional
  View lse;   // optional
  bool causal = false;

  AttentionArguments(const Op& op, const tamias_tensor* q, const tamias_tensor* k, const tamias_tensor* v,
                     const tamias_tensor* bias, float scale, int32_t causal, const tamias_tensor* out,
                     const tamias_tensor* lse);
};

// Queries in groups.
struct GroupedHeads : AttentionHeads {
  int64_t group = 0;
  int64_t groups = 0;

  GroupedHeads(const Op& op, const tamias_tensor* q, const tamias_tensor* k, const tamias_tensor* v, float scale,
               int64_t group, const tamias_tensor* out);
};

struct ColumnSumsArguments : GroupedHeads {
  View previous_lse;  // optional
  View lse, column_sums;

  ColumnSumsArguments(const Op& op, const tamias_tensor* q, const tamias_tensor* k, const tamias_tensor* v,
                      float scale, int64_t group, const tamias_tensor* previous_lse, const tamias_tensor* out,
                      const tamias_tensor* lse, const tamias_tensor* column_sums);
};

struct ColumnAttentionArguments : GroupedHeads {
  ColumnMask mask;
  int32_t rule;
  float beta;
  View cache, cache_lse;  // perhaps given where `rule` does not use them
  View lse;               // optional

  ColumnAttentionArguments(const Op& op, const tamias_tensor* q, const tamias_tensor* k, const tamias_tensor* v,
                           float scale, int64_t group, const tamias_tensor* indices, const tamias_tensor* counts,
                           int32_t rule, float beta, const tamias_tensor* cache, const tamias_tensor* cache_lse,
                           const tamias_tensor* out, const tamias_tensor* lse);

  bool uses_cache() const { return rule != TAMIAS_CACHE_NONE; }
  bool uses_cache_lse() const { return rule == TAMIAS_CACHE_LSE; }
};

struct AttentionCacheArguments {
  int32_t rule;
  float beta;
  View o, o_chosen, cache;
  View lse, lse_chosen, cache_lse;  // perhaps given where `rule` does not use them

  AttentionCacheArguments(const Op& op, int32_t rule, float beta, const tamias_tensor* o, const tamias_tensor* lse,
                          const tamias_tensor* o_chosen, const tamias_tensor* lse_chosen, const tamias_tensor* cache,
                          const tamias_tensor* cache_lse);

  bool merges() const { return rule == TAMIAS_CACHE_LSE; }
};

}  // namespace tamias
