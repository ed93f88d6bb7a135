// attention, attention_column_sums.
#include <algorithm>

#include "heads.h"

using namespace tamias;

namespace {

// Column sums add up over a group's queries in order, so a group is never split.
constexpr int32_t kWholeGroups = 1;

struct Pieces {
  int64_t length;     // queries of a piece
  int64_t per_head;
  int64_t count;
  size_t plan, scratch;
  int64_t scratch_floats;

  Pieces(const Op& op, const Heads& heads, int64_t length, Scratch& space) : length(length) {
    per_head = (heads.queries + length - 1) / length;
    count = heads.batch * heads.heads * per_head;
    scratch_floats = attention_of(op.device().isa()).scratch_floats(heads.head_dim);
    plan = space.take(WorkPlan::bytes(count));
    scratch = space.floats(scratch_floats * op.device().threads());
  }

  // body(item, batch, head, first query, scratch)
  template <class Body>
  void run(const Run& run, const Heads& heads, int32_t parts, const Body& body) const {
    WorkPlan work(Scratch::at<WorkItem>(run, plan));
    for (int64_t piece = 0; piece < count; ++piece) {
      const int64_t first = piece % per_head * length;
      const int64_t queries = std::min(length, heads.queries - first);
      work.add(piece, queries * (heads.keys + 1) * heads.head_dim * 2);
    }
    work.split(run.threads, parts);
    work.run(run, [&](const WorkItem& item, int thread) {
      const int64_t head = item.index / per_head;
      body(item, head / heads.heads, head % heads.heads, item.index % per_head * length,
           Scratch::at<float>(run, scratch) + thread * scratch_floats);
    });
  }
};

}  // namespace

extern "C" int32_t tamias_attention(uint64_t stream, const tamias_tensor* q, const tamias_tensor* k,
                                    const tamias_tensor* v, const tamias_tensor* bias, float scale, int32_t causal,
                                    const tamias_tensor* out, const tamias_tensor* lse) {
  return run_op("attention", stream, [&](Op& op) {
    const Heads heads(op, q, k, v, scale, out);
    const View biases = op.optional_input("bias", bias, kF32, 3, 3);
    op.shape(biases, {heads.heads, heads.queries, heads.keys});
    const View statistics = heads.row_statistic(op, "lse", lse, true);
    op.apart(heads.out, {biases, statistics});
    op.apart(statistics, {heads.q, heads.k, heads.v, biases});
    if (causal != 0 && causal != 1) refuse("causal is %d, expected 0 or 1", causal);
    Scratch space;
    const Pieces pieces(op, heads, kBlockQueries, space);
    op.workspace(space);
    if (heads.empty()) return;
    op.submit([=](const Run& run) {
      const AttentionKernels& kernels = attention_of(run.isa);
      pieces.run(run, heads, WorkPlan::kMostParts,
                 [&](const WorkItem& item, int64_t b, int64_t h, int64_t begin, float* scratch) {
        const int64_t end = std::min(begin + pieces.length, heads.queries);
        for_each_block(item, kernels.panel, begin, end, [&](int64_t first, int64_t count) {
          AttentionBlock block = heads.block(b, h, first, count);
          if (biases && !biases.empty()) {
            block.bias = biases.f32() + h * biases.stride[0] + first * biases.stride[1];
            block.bias_query_stride = biases.stride[1];
            block.bias_key_stride = biases.stride[2];
          }
          if (causal) block.causal_from = first;
          if (statistics) {
            block.lse = at(statistics, b, h, first);
            block.lse_stride = statistics.stride[2];
          }
          kernels.attend(block, scratch);
        });
      });
    });
  });
}

extern "C" int32_t tamias_attention_column_sums(uint64_t stream, const tamias_tensor* q, const tamias_tensor* k,
                                                const tamias_tensor* v, float scale, int64_t group,
                                                const tamias_tensor* previous_lse, const tamias_tensor* out,
                                                const tamias_tensor* lse, const tamias_tensor* column_sums) {
  return run_op("attention_column_sums", stream, [&](Op& op) {
    const Heads heads(op, q, k, v, scale, out);
    if (group < 1 || group > 4096) refuse("group is %lld, expected 1 to 4096", (long long)group);
    if (!lse) refuse("lse is NULL");
    const View previous = heads.row_statistic(op, "previous_lse", previous_lse, false);
    const View statistics = heads.row_statistic(op, "lse", lse, true);
    const View sums = op.output("column_sums", column_sums, kF32, 4, 4);
    Scratch space;
    const Pieces pieces(op, heads, group, space);
    op.shape(sums, {heads.batch, heads.heads, pieces.per_head, heads.keys});
    op.contiguous(sums);
    op.apart(heads.out, {previous, statistics, sums});
    op.apart(statistics, {heads.q, heads.k, heads.v, sums});
    op.apart_or_same(statistics, {previous});
    op.apart(sums, {heads.q, heads.k, heads.v, previous});
    op.workspace(space);
    if (heads.empty()) return;
    op.submit([=](const Run& run) {
      const AttentionKernels& kernels = attention_of(run.isa);
      pieces.run(run, heads, kWholeGroups,
                 [&](const WorkItem& item, int64_t b, int64_t h, int64_t begin, float* scratch) {
        float* group_sums = sums.f32() + item.index * heads.keys;
        std::fill_n(group_sums, heads.keys, 0.0f);
        const int64_t end = std::min(begin + pieces.length, heads.queries);
        for_each_block(item, kernels.panel, begin, end, [&](int64_t first, int64_t count) {
          AttentionBlock block = heads.block(b, h, first, count);
          block.lse = at(statistics, b, h, first);
          block.lse_stride = statistics.stride[2];
          block.column_sums = group_sums;
          if (previous) {
            block.previous_lse = at(previous, b, h, first);
            block.previous_lse_stride = previous.stride[2];
          }
          kernels.attend(block, scratch);
        });
      });
    });
  });
}
