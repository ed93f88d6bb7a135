// attention_cache: what the chosen keys do not explain, kept at a refresh.
#include <cmath>

#include "common/op.h"
#include "../common/parallel.h"
#include "../nn/kernels.h"
#include "heads.h"

using namespace tamias;

namespace {

// cache = o_weight * o + chosen_weight * o_chosen, and cache_lse.
struct Rest {
  float o_weight;
  float chosen_weight;
  float lse;
};

Rest rest_of(double lse, double lse_chosen) {
  if (lse_chosen == -INFINITY && lse != -INFINITY) return {1, 0, static_cast<float>(lse)};
  const double share = std::exp(lse_chosen - lse);
  // Also where nothing at all was seen (both -infinity), or the chosen part seems larger than the whole by rounding.
  if (lse == -INFINITY || static_cast<float>(share) >= 1) return {0, 0, -INFINITY};
  const double rest = -std::expm1(lse_chosen - lse);
  return {static_cast<float>(1 / rest), static_cast<float>(-share / rest), static_cast<float>(lse + std::log(rest))};
}

}  // namespace

extern "C" int32_t tamias_attention_cache(uint64_t stream, int32_t rule, float beta, const tamias_tensor* o,
                                          const tamias_tensor* lse, const tamias_tensor* o_chosen,
                                          const tamias_tensor* lse_chosen, const tamias_tensor* cache,
                                          const tamias_tensor* cache_lse) {
  return run_op("attention_cache", stream, [&](Op& op) {
    if (rule != TAMIAS_CACHE_CONTROL && rule != TAMIAS_CACHE_LSE) refuse("rule is %d, expected 1 or 2", rule);
    const bool merge = rule == TAMIAS_CACHE_LSE;
    if (!merge && !std::isfinite(beta)) refuse("beta is %g, expected a finite number", beta);
    const View dense = op.input("o", o, kF32, 4, 4);
    const View chosen = op.input("o_chosen", o_chosen, kF32, 4, 4);
    const View kept = op.output("cache", cache, kF32, 4, 4);
    op.same_shape(chosen, dense);
    op.same_shape(kept, dense);
    for (const View& view : {dense, chosen, kept}) op.rows(view);
    if (merge && !lse) refuse("lse is NULL, but the rule needs it");
    if (merge && !lse_chosen) refuse("lse_chosen is NULL, but the rule needs it");
    if (merge && !cache_lse) refuse("cache_lse is NULL, but the rule needs it");
    const View dense_lse = op.optional_input("lse", lse, kF32, 3, 3);
    const View chosen_lse = op.optional_input("lse_chosen", lse_chosen, kF32, 3, 3);
    const View kept_lse = op.optional_output("cache_lse", cache_lse, kF32, 3, 3);
    const int64_t heads = dense.size(1);
    const int64_t queries = dense.size(2);
    for (const View& view : {dense_lse, chosen_lse, kept_lse}) op.shape(view, {dense.size(0), heads, queries});
    op.apart(kept, {dense, dense_lse, chosen_lse, kept_lse});
    op.apart_or_same(kept, {chosen});
    op.apart(kept_lse, {dense, chosen, dense_lse});
    op.apart_or_same(kept_lse, {chosen_lse});
    if (kept.empty()) return;
    op.submit([=](const Run& run) {
      const auto& kernels = elementwise(run.isa);
      const int64_t head_dim = dense.size(3);
      parallel_for(run, dense.size(0) * heads * queries, 3 * head_dim, [&](int64_t begin, int64_t end, int) {
        for (int64_t row = begin; row < end; ++row) {
          const int64_t b = row / queries / heads;
          const int64_t h = row / queries % heads;
          const int64_t i = row % queries;
          Rest rest = {1, -beta, 0};
          if (merge) {
            rest = rest_of(*at(dense_lse, b, h, i), *at(chosen_lse, b, h, i));
            *at(kept_lse, b, h, i) = rest.lse;
          }
          kernels.combine(rest.o_weight, at(dense, b, h, i), 1, rest.chosen_weight, at(chosen, b, h, i), 1,
                          at(kept, b, h, i), 1, head_dim);
        }
      });
    });
  });
}
