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

  Pieces(const Op& op, const AttentionHeads& heads, int64_t length, Scratch& space) : length(length) {
    per_head = (heads.queries + length - 1) / length;
    count = heads.batch * heads.heads * per_head;
    scratch_floats = attention_of(op.device().isa()).scratch_floats(heads.head_dim);
    plan = space.take(WorkPlan::bytes(count));
    scratch = space.floats(scratch_floats * op.device().threads());
  }

  // body(item, batch, head, first query, scratch)
  template <class Body>
  void run(const Run& run, const AttentionHeads& heads, int32_t parts, const Body& body) const {
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
    const AttentionArguments heads(op, q, k, v, bias, scale, causal, out, lse);
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
          AttentionBlock block = block_of(heads, b, h, first, count);
          if (heads.bias && !heads.bias.empty()) {
            block.bias = heads.bias.f32() + h * heads.bias.stride[0] + first * heads.bias.stride[1];
            block.bias_query_stride = heads.bias.stride[1];
            block.bias_key_stride = heads.bias.stride[2];
          }
          if (heads.causal) block.causal_from = first;
          if (heads.lse) {
            block.lse = at(heads.lse, b, h, first);
            block.lse_stride = heads.lse.stride[2];
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
    const ColumnSumsArguments heads(op, q, k, v, scale, group, previous_lse, out, lse, column_sums);
    Scratch space;
    const Pieces pieces(op, heads, group, space);
    op.workspace(space);
    if (heads.empty()) return;
    op.submit([=](const Run& run) {
      const AttentionKernels& kernels = attention_of(run.isa);
      pieces.run(run, heads, kWholeGroups,
                 [&](const WorkItem& item, int64_t b, int64_t h, int64_t begin, float* scratch) {
        float* group_sums = heads.column_sums.f32() + item.index * heads.keys;
        std::fill_n(group_sums, heads.keys, 0.0f);
        const int64_t end = std::min(begin + pieces.length, heads.queries);
        for_each_block(item, kernels.panel, begin, end, [&](int64_t first, int64_t count) {
          AttentionBlock block = block_of(heads, b, h, first, count);
          block.lse = at(heads.lse, b, h, first);
          block.lse_stride = heads.lse.stride[2];
          block.column_sums = group_sums;
          if (heads.previous_lse) {
            block.previous_lse = at(heads.previous_lse, b, h, first);
            block.previous_lse_stride = heads.previous_lse.stride[2];
          }
          kernels.attend(block, scratch);
        });
      });
    });
  });
}
