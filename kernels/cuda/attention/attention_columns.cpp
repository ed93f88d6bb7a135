// attention_columns.
#include "common/dispatch.h"
#include "head_rows.h"
#include "runtime/check.h"

using namespace tamias;

namespace {

ColumnAttention column_problem(const Attention<__nv_bfloat16>& problem) {
  ColumnAttention columns;
  columns.shape = problem.shape;
  columns.q = problem.q;
  columns.k = problem.k;
  columns.v = problem.v;
  columns.out = problem.out;
  columns.lse = problem.lse;
  columns.group = problem.group;
  columns.indices = problem.lists.indices;
  columns.short_indices = problem.lists.short_indices;
  columns.capacity = problem.lists.capacity;
  columns.counts = problem.lists.counts;
  columns.rule = problem.rule;
  columns.beta = problem.beta;
  columns.cache = problem.cache;
  columns.cache_lse = problem.cache_lse;
  return columns;
}

void submit_columns_sm90(Op& op, ColumnAttention problem) {
  Scratch space;
  const size_t scratch = space.take(column_attention_sm90_workspace(problem, op.device().multiprocessors()));
  op.workspace(space);
  op.submit([=](const Run& run) mutable {
    problem.failure = run.failure;
    check_cuda(column_attention_sm90(problem, run.launch(scratch)), "attention");
  });
}

}  // namespace

extern "C" int32_t tamias_attention_columns(uint64_t stream, const tamias_tensor* q, const tamias_tensor* k,
                                            const tamias_tensor* v, float scale, int64_t group,
                                            const tamias_tensor* indices, const tamias_tensor* counts, int32_t rule,
                                            float beta, const tamias_tensor* cache, const tamias_tensor* cache_lse,
                                            const tamias_tensor* out, const tamias_tensor* lse) {
  return run_op("attention_columns", stream, [&](Op& op) {
    const ColumnAttentionArguments heads(op, q, k, v, scale, group, indices, counts, rule, beta, cache, cache_lse, out,
                                         lse);
    if (heads.empty()) return;
    with_type(heads.q.dtype, [&](auto type) {
      using T = typename decltype(type)::Type;
      Attention<T> problem = attention_problem<T>(heads, heads.lse);
      problem.group = group;
      problem.lists.indices = heads.mask.indices.data;
      problem.lists.short_indices = heads.mask.short_indices;
      problem.lists.capacity = heads.mask.capacity;
      problem.lists.counts = heads.mask.counts.as<int32_t>();
      problem.rule = rule;
      problem.beta = beta;
      if (heads.uses_cache()) problem.cache = head_rows<const T>(heads.cache);
      if (heads.uses_cache_lse()) problem.cache_lse = head_rows<const float>(heads.cache_lse);
      if constexpr (is_bf16<T>) {
        const ColumnAttention columns = column_problem(problem);
        if (has_wgmma(op) && column_attention_sm90_fits(columns)) return submit_columns_sm90(op, columns);
      }
      op.submit([=](const Run& run) {
        Attention<T> own = problem;
        own.lists.failure = run.failure;
        if constexpr (is_bf16<T>) {
          if (attention_mma_fits(own)) return check_cuda(attention_mma(own, run.stream), "attention");
        }
        check_cuda(attention_plain(own, run.stream), "attention");
      });
    });
  });
}
