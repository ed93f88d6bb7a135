// attention, attention_column_sums.
#include "common/dispatch.h"
#include "head_rows.h"
#include "runtime/check.h"

using namespace tamias;

namespace {

DenseAttention dense_problem(const Attention<__nv_bfloat16>& problem) {
  DenseAttention dense;
  dense.shape = problem.shape;
  dense.q = problem.q;
  dense.k = problem.k;
  dense.v = problem.v;
  dense.out = problem.out;
  dense.lse = problem.lse;
  return dense;
}

void submit_dense_sm90(Op& op, const DenseAttention& problem) {
  Scratch space;
  const size_t scratch = space.take(dense_attention_sm90_workspace(problem, op.device().multiprocessors()));
  op.workspace(space);
  op.submit([=](const Run& run) { check_cuda(dense_attention_sm90(problem, run.launch(scratch)), "attention"); });
}

template <class T>
void attend(const Attention<T>& problem, const Run& run) {
  if constexpr (is_bf16<T>) {
    if (attention_mma_fits(problem)) return check_cuda(attention_mma(problem, run.stream), "attention");
  }
  check_cuda(attention_plain(problem, run.stream), "attention");
}

template <class T>
void sum_columns(const ColumnSums<T>& problem, const Run& run) {
  if constexpr (is_bf16<T>) {
    if (column_sums_mma_fits(problem)) return check_cuda(column_sums_mma(problem, run.stream), "column sums");
  }
  check_cuda(column_sums_plain(problem, run.stream), "column sums");
}

}  // namespace

extern "C" int32_t tamias_attention(uint64_t stream, const tamias_tensor* q, const tamias_tensor* k,
                                    const tamias_tensor* v, const tamias_tensor* bias, float scale, int32_t causal,
                                    const tamias_tensor* out, const tamias_tensor* lse) {
  return run_op("attention", stream, [&](Op& op) {
    const AttentionArguments heads(op, q, k, v, bias, scale, causal, out, lse);
    if (heads.empty()) return;
    with_type(heads.q.dtype, [&](auto type) {
      using T = typename decltype(type)::Type;
      Attention<T> problem = attention_problem<T>(heads, heads.lse);
      if (heads.bias && !heads.bias.empty()) {
        problem.bias = heads.bias.f32();
        problem.bias_head = heads.bias.stride[0];
        problem.bias_query = heads.bias.stride[1];
        problem.bias_key = heads.bias.stride[2];
      }
      problem.causal = heads.causal;
      if constexpr (is_bf16<T>) {
        const DenseAttention dense = dense_problem(problem);
        if (has_wgmma(op) && !problem.bias && !problem.causal && dense_attention_sm90_fits(dense)) {
          return submit_dense_sm90(op, dense);
        }
      }
      op.submit([=](const Run& run) { attend(problem, run); });
    });
  });
}

extern "C" int32_t tamias_attention_column_sums(uint64_t stream, const tamias_tensor* q, const tamias_tensor* k,
                                                const tamias_tensor* v, float scale, int64_t group,
                                                const tamias_tensor* previous_lse, const tamias_tensor* out,
                                                const tamias_tensor* lse, const tamias_tensor* column_sums) {
  return run_op("attention_column_sums", stream, [&](Op& op) {
    const ColumnSumsArguments heads(op, q, k, v, scale, group, previous_lse, out, lse, column_sums);
    if (heads.empty()) return;
    with_type(heads.q.dtype, [&](auto type) {
      using T = typename decltype(type)::Type;
      const Attention<T> problem = attention_problem<T>(heads, heads.lse);
      const auto previous = head_rows<const float>(heads.previous_lse);
      if constexpr (is_bf16<T>) {
        DenseAttention dense = dense_problem(problem);
        dense.group = group;
        dense.previous_lse = previous;
        dense.column_sums = heads.column_sums.f32();
        if (has_wgmma(op) && dense_attention_sm90_fits(dense)) return submit_dense_sm90(op, dense);
      }
      const HeadRows<float>& own = problem.lse;
      const ColumnSums<T> sums = {problem.shape,
                                  problem.q,
                                  problem.k,
                                  previous.data ? previous
                                                : HeadRows<const float>{own.data, own.batch, own.head, own.row},
                                  group,
                                  heads.column_sums.f32()};
      op.submit([=](const Run& run) {
        // The earlier log-sum-exp may be overwritten by this step's.
        if (previous.data) sum_columns(sums, run);
        attend(problem, run);
        if (!previous.data) sum_columns(sums, run);
      });
    });
  });
}
