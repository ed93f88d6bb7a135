// From the ABI's tensors to the kernels' rows.
#pragma once

#include "attention_any.h"
#include "common/checks/attention.h"

namespace tamias {

// [batch, heads, tokens, headDim], or a statistic [batch, heads, tokens]. The stride of a single element means nothing,
// and must not look like a misaligned row.
template <class T>
HeadRows<T> head_rows(const View& view) {
  if (!view) return {};
  const auto stride = [&](int axis) { return view.shape[axis] > 1 ? view.stride[axis] : 0; };
  return {view.as<T>(), stride(0), stride(1), stride(2)};
}

inline AttentionShape attention_shape(const AttentionHeads& heads) {
  return {static_cast<int32_t>(heads.batch), static_cast<int32_t>(heads.heads), static_cast<int32_t>(heads.head_dim),
          heads.queries, heads.keys, heads.scale};
}

// All but `group`, the lists and what only one form has.
template <class T>
Attention<T> attention_problem(const AttentionHeads& heads, const View& lse) {
  Attention<T> problem;
  problem.shape = attention_shape(heads);
  problem.q = head_rows<const T>(heads.q);
  problem.k = head_rows<const T>(heads.k);
  problem.v = head_rows<const T>(heads.v);
  problem.out = head_rows<T>(heads.out);
  problem.lse = head_rows<float>(lse);
  problem.group = heads.queries;
  return problem;
}

}  // namespace tamias
