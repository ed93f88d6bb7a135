// attention_cache: what the chosen keys do not explain, kept at a refresh.
#include <cmath>

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
    const AttentionCacheArguments arguments(op, rule, beta, o, lse, o_chosen, lse_chosen, cache, cache_lse);
    if (arguments.cache.empty()) return;
    op.submit([=](const Run& run) {
      const auto& kernels = elementwise(run.isa);
      const View& dense = arguments.o;
      const int64_t heads = dense.size(1);
      const int64_t queries = dense.size(2);
      const int64_t head_dim = dense.size(3);
      parallel_for(run, dense.size(0) * heads * queries, 3 * head_dim, [&](int64_t begin, int64_t end, int) {
        for (int64_t row = begin; row < end; ++row) {
          const int64_t b = row / queries / heads;
          const int64_t h = row / queries % heads;
          const int64_t i = row % queries;
          Rest rest = {1, -beta, 0};
          if (arguments.merges()) {
            rest = rest_of(*at(arguments.lse, b, h, i), *at(arguments.lse_chosen, b, h, i));
            *at(arguments.cache_lse, b, h, i) = rest.lse;
          }
          kernels.combine(rest.o_weight, at(dense, b, h, i), 1, rest.chosen_weight, at(arguments.o_chosen, b, h, i), 1,
                          at(arguments.cache, b, h, i), 1, head_dim);
        }
      });
    });
  });
}
