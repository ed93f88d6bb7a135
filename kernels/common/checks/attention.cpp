#include "attention.h"

#include <cmath>

namespace tamias {

AttentionHeads::AttentionHeads(const Op& op, const tamias_tensor* q_tensor, const tamias_tensor* k_tensor,
                               const tamias_tensor* v_tensor, float scale, const tamias_tensor* out_tensor)
    : scale(scale) {
  q = op.input("q", q_tensor, kActivations, 4, 4);
  k = op.input("k", k_tensor, kActivations, 4, 4);
  v = op.input("v", v_tensor, kActivations, 4, 4);
  out = op.output("out", out_tensor, kActivations, 4, 4);
  batch = q.size(0);
  heads = q.size(1);
  queries = q.size(2);
  head_dim = q.size(3);
  keys = k.size(2);
  if (k.size(3) != head_dim) {
    refuse("k has headDim %lld, q has %lld", (long long)k.size(3), (long long)head_dim);
  }
  op.shape(k, {batch, heads, keys, head_dim});
  op.same_shape(v, k);
  op.same_shape(out, q);
  for (const View& view : {k, v, out}) op.same_dtype(view, q);
  for (const View& view : {q, k, v, out}) op.rows(view);
  op.apart(out, {q, k, v});
  if (!std::isfinite(scale)) refuse("scale is %g, expected a finite number", scale);
  if (keys > INT32_MAX) refuse("k has %lld keys, more than an index can name", (long long)keys);
}

View AttentionHeads::row_statistic(const Op& op, const char* name, const tamias_tensor* tensor, bool written) const {
  const View view =
      written ? op.optional_output(name, tensor, kF32, 3, 3) : op.optional_input(name, tensor, kF32, 3, 3);
  op.shape(view, {batch, heads, queries});
  return view;
}

AttentionArguments::AttentionArguments(const Op& op, const tamias_tensor* q, const tamias_tensor* k,
                                       const tamias_tensor* v, const tamias_tensor* bias_tensor, float scale,
                                       int32_t causal, const tamias_tensor* out, const tamias_tensor* lse_tensor)
    : AttentionHeads(op, q, k, v, scale, out), causal(causal == 1) {
  bias = op.optional_input("bias", bias_tensor, kF32, 3, 3);
  op.shape(bias, {heads, queries, keys});
  lse = row_statistic(op, "lse", lse_tensor, true);
  op.apart(this->out, {bias, lse});
  op.apart(lse, {this->q, this->k, this->v, bias});
  if (causal != 0 && causal != 1) refuse("causal is %d, expected 0 or 1", causal);
}

GroupedHeads::GroupedHeads(const Op& op, const tamias_tensor* q, const tamias_tensor* k, const tamias_tensor* v,
                           float scale, int64_t group, const tamias_tensor* out)
    : AttentionHeads(op, q, k, v, scale, out), group(group) {
  if (group < 1 || group > 4096) refuse("group is %lld, expected 1 to 4096", (long long)group);
  groups = (queries + group - 1) / group;
}

ColumnSumsArguments::ColumnSumsArguments(const Op& op, const tamias_tensor* q, const tamias_tensor* k,
                                         const tamias_tensor* v, float scale, int64_t group,
                                         const tamias_tensor* previous_tensor, const tamias_tensor* out,
                                         const tamias_tensor* lse_tensor, const tamias_tensor* sums_tensor)
    : GroupedHeads(op, q, k, v, scale, group, out) {
  if (!lse_tensor) refuse("lse is NULL");
  previous_lse = row_statistic(op, "previous_lse", previous_tensor, false);
  lse = row_statistic(op, "lse", lse_tensor, true);
  column_sums = op.output("column_sums", sums_tensor, kF32, 4, 4);
  op.shape(column_sums, {batch, heads, groups, keys});
  op.contiguous(column_sums);
  op.apart(this->out, {previous_lse, lse, column_sums});
  op.apart(lse, {this->q, this->k, this->v, column_sums});
  op.apart_or_same(lse, {previous_lse});
  op.apart(column_sums, {this->q, this->k, this->v, previous_lse});
}

ColumnAttentionArguments::ColumnAttentionArguments(const Op& op, const tamias_tensor* q, const tamias_tensor* k,
                                                   const tamias_tensor* v, float scale, int64_t group,
                                                   const tamias_tensor* indices, const tamias_tensor* counts,
                                                   int32_t rule, float beta, const tamias_tensor* cache_tensor,
                                                   const tamias_tensor* cache_lse_tensor, const tamias_tensor* out,
                                                   const tamias_tensor* lse_tensor)
    : GroupedHeads(op, q, k, v, scale, group, out),
      mask(op, indices, counts, batch, heads, groups, keys, false),
      rule(rule),
      beta(beta) {
  if (rule < TAMIAS_CACHE_NONE || rule > TAMIAS_CACHE_LSE) refuse("rule is %d, expected 0 to 2", rule);
  if (rule == TAMIAS_CACHE_CONTROL && !std::isfinite(beta)) refuse("beta is %g, expected a finite number", beta);
  if (uses_cache() && !cache_tensor) refuse("cache is NULL, but the rule needs it");
  if (uses_cache_lse() && !cache_lse_tensor) refuse("cache_lse is NULL, but the rule needs it");
  cache = op.optional_input("cache", cache_tensor, kActivations, 4, 4);
  op.same_shape(cache, this->out);
  op.same_dtype(cache, this->out);
  op.rows(cache);
  cache_lse = row_statistic(op, "cache_lse", cache_lse_tensor, false);
  lse = row_statistic(op, "lse", lse_tensor, true);
  op.apart(this->out, {mask.indices, mask.counts, cache, cache_lse, lse});
  op.apart(lse, {this->q, this->k, this->v, mask.indices, mask.counts, cache, cache_lse});
}

AttentionCacheArguments::AttentionCacheArguments(const Op& op, int32_t rule, float beta, const tamias_tensor* o_tensor,
                                                 const tamias_tensor* lse_tensor, const tamias_tensor* chosen_tensor,
                                                 const tamias_tensor* lse_chosen_tensor,
                                                 const tamias_tensor* cache_tensor,
                                                 const tamias_tensor* cache_lse_tensor)
    : rule(rule), beta(beta) {
  if (rule != TAMIAS_CACHE_CONTROL && rule != TAMIAS_CACHE_LSE) refuse("rule is %d, expected 1 or 2", rule);
  if (!merges() && !std::isfinite(beta)) refuse("beta is %g, expected a finite number", beta);
  o = op.input("o", o_tensor, kActivations, 4, 4);
  o_chosen = op.input("o_chosen", chosen_tensor, kActivations, 4, 4);
  cache = op.output("cache", cache_tensor, kActivations, 4, 4);
  for (const View& view : {o_chosen, cache}) op.same_shape(view, o);
  for (const View& view : {o_chosen, cache}) op.same_dtype(view, o);
  for (const View& view : {o, o_chosen, cache}) op.rows(view);
  if (merges() && !lse_tensor) refuse("lse is NULL, but the rule needs it");
  if (merges() && !lse_chosen_tensor) refuse("lse_chosen is NULL, but the rule needs it");
  if (merges() && !cache_lse_tensor) refuse("cache_lse is NULL, but the rule needs it");
  lse = op.optional_input("lse", lse_tensor, kF32, 3, 3);
  lse_chosen = op.optional_input("lse_chosen", lse_chosen_tensor, kF32, 3, 3);
  cache_lse = op.optional_output("cache_lse", cache_lse_tensor, kF32, 3, 3);
  for (const View& view : {lse, lse_chosen, cache_lse}) op.shape(view, {o.size(0), o.size(1), o.size(2)});
  op.apart(cache, {o, lse, lse_chosen, cache_lse});
  op.apart_or_same(cache, {o_chosen});
  op.apart(cache_lse, {o, o_chosen, lse});
  op.apart_or_same(cache_lse, {lse_chosen});
}

}  // namespace tamias
