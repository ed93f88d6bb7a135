// attention_columns: the chosen keys of each group, merged with the cache.
#include <algorithm>
#include <cmath>

#include "../mask/column_mask.h"
#include "heads.h"

using namespace tamias;

extern "C" int32_t tamias_attention_columns(uint64_t stream, const tamias_tensor* q, const tamias_tensor* k,
                                            const tamias_tensor* v, float scale, int64_t group,
                                            const tamias_tensor* indices, const tamias_tensor* counts, int32_t rule,
                                            float beta, const tamias_tensor* cache, const tamias_tensor* cache_lse,
                                            const tamias_tensor* out, const tamias_tensor* lse) {
  return run_op("attention_columns", stream, [&](Op& op) {
    const Heads heads(op, q, k, v, scale, out);
    if (group < 1 || group > 4096) refuse("group is %lld, expected 1 to 4096", (long long)group);
    const int64_t groups = (heads.queries + group - 1) / group;
    const ColumnMask mask(op, indices, counts, heads.batch, heads.heads, groups, heads.keys, false);
    if (rule < TAMIAS_CACHE_NONE || rule > TAMIAS_CACHE_LSE) refuse("rule is %d, expected 0 to 2", rule);
    const bool control = rule == TAMIAS_CACHE_CONTROL;
    const bool merge = rule == TAMIAS_CACHE_LSE;
    if (control && !std::isfinite(beta)) refuse("beta is %g, expected a finite number", beta);
    if ((control || merge) && !cache) refuse("cache is NULL, but the rule needs it");
    if (merge && !cache_lse) refuse("cache_lse is NULL, but the rule needs it");
    const View cached = op.optional_input("cache", cache, kF32, 4, 4);
    op.same_shape(cached, heads.out);
    op.rows(cached);
    const View cached_lse = heads.row_statistic(op, "cache_lse", cache_lse, false);
    const View statistics = heads.row_statistic(op, "lse", lse, true);
    op.apart(heads.out, {mask.indices, mask.counts, cached, cached_lse, statistics});
    op.apart(statistics, {heads.q, heads.k, heads.v, mask.indices, mask.counts, cached, cached_lse});
    const int64_t scratch_floats = attention_of(op.device().isa()).scratch_floats(heads.head_dim);
    Scratch space;
    const size_t plan = space.take(WorkPlan::bytes(mask.size()));
    const size_t scratch = space.floats(scratch_floats * op.device().threads());
    op.workspace(space);
    if (heads.empty()) return;
    op.submit([=](const Run& run) {
      mask.check_contents("attention_columns", false);
      const AttentionKernels& kernels = attention_of(run.isa);
      WorkPlan work(Scratch::at<WorkItem>(run, plan));
      for (int64_t index = 0; index < mask.size(); ++index) {
        const int64_t queries = std::min(group, heads.queries - index % groups * group);
        work.add(index, queries * (mask.chosen(index) + 1) * heads.head_dim * 2);
      }
      work.split(run.threads, WorkPlan::kMostParts);
      work.run(run, [&](const WorkItem& item, int thread) {
        const int64_t b = item.index / groups / heads.heads;
        const int64_t h = item.index / groups % heads.heads;
        const int64_t begin = item.index % groups * group;
        const int64_t end = std::min(begin + group, heads.queries);
        for_each_block(item, kernels.panel, begin, end, [&](int64_t first, int64_t count) {
          AttentionBlock block = heads.block(b, h, first, count);
          block.indices = mask.list(item.index);
          block.short_indices = mask.short_indices;
          block.keys = mask.chosen(item.index);
          block.rule = rule;
          block.beta = beta;
          if (control || merge) {
            block.cache = at(cached, b, h, first);
            block.cache_stride = cached.stride[2];
          }
          if (merge) {
            block.cache_lse = at(cached_lse, b, h, first);
            block.cache_lse_stride = cached_lse.stride[2];
          }
          if (statistics) {
            block.lse = at(statistics, b, h, first);
            block.lse_stride = statistics.stride[2];
          }
          kernels.attend(block, Scratch::at<float>(run, scratch) + thread * scratch_floats);
        });
      });
    });
  });
}
