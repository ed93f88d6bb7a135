// attention_columns: the chosen keys of each group, merged with the cache.
#include <algorithm>

#include "../mask/readable_mask.h"
#include "heads.h"

using namespace tamias;

extern "C" int32_t tamias_attention_columns(uint64_t stream, const tamias_tensor* q, const tamias_tensor* k,
                                            const tamias_tensor* v, float scale, int64_t group,
                                            const tamias_tensor* indices, const tamias_tensor* counts, int32_t rule,
                                            float beta, const tamias_tensor* cache, const tamias_tensor* cache_lse,
                                            const tamias_tensor* out, const tamias_tensor* lse) {
  return run_op("attention_columns", stream, [&](Op& op) {
    const ColumnAttentionArguments heads(op, q, k, v, scale, group, indices, counts, rule, beta, cache, cache_lse,
                                         out, lse);
    const int64_t groups = heads.groups;
    const int64_t scratch_floats = attention_of(op.device().isa()).scratch_floats(heads.head_dim);
    Scratch space;
    const size_t plan = space.take(WorkPlan::bytes(heads.mask.size()));
    const size_t scratch = space.floats(scratch_floats * op.device().threads());
    op.workspace(space);
    if (heads.empty()) return;
    op.submit([=, mask = ReadableMask(heads.mask)](const Run& run) {
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
          AttentionBlock block = block_of(heads, b, h, first, count);
          block.indices = mask.list(item.index);
          block.short_indices = mask.short_indices;
          block.keys = mask.chosen(item.index);
          block.rule = rule;
          block.beta = beta;
          if (heads.uses_cache()) {
            block.cache = at(heads.cache, b, h, first);
            block.cache_stride = heads.cache.stride[2];
          }
          if (heads.uses_cache_lse()) {
            block.cache_lse = at(heads.cache_lse, b, h, first);
            block.cache_lse_stride = heads.cache_lse.stride[2];
          }
          if (heads.lse) {
            block.lse = at(heads.lse, b, h, first);
            block.lse_stride = heads.lse.stride[2];
          }
          kernels.attend(block, Scratch::at<float>(run, scratch) + thread * scratch_floats);
        });
      });
    });
  });
}
