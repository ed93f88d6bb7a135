// The end of attention over some keys, for one query: what its accumulated sum and its cache count in the result.
#pragma once

#include <cmath>

#include "attention_any.h"

namespace tamias {

constexpr float kLog2E = 1.44269504f;
constexpr float kLn2 = 0.693147181f;

struct QueryResult {
  float lse;           // L_S, or of the merged result
  float weight;        // of the accumulated sum
  float cache_weight;  // 0: the cache is not to be read
};

// maximum: of the logits in units of log2; denominator: sum of 2^(logit - maximum).
template <class T>
__device__ QueryResult query_result(const Attention<T>& problem, int64_t batch, int64_t head, int64_t query,
                                    float maximum, float denominator) {
  const bool none = denominator == 0;
  const float chosen = none ? -INFINITY : (maximum + log2f(denominator)) * kLn2;
  const float weight = none ? 0.0f : 1 / denominator;
  if (problem.rule == TAMIAS_CACHE_NONE) return {chosen, weight, 0};
  if (problem.rule == TAMIAS_CACHE_CONTROL) return {chosen, weight * problem.beta, 1};
  const float rest = *problem.cache_lse.at(batch, head, query);
  const float most = fmaxf(chosen, rest);
  if (most == -INFINITY) return {most, 0, 0};
  const float share = expf(chosen - most);
  const float rest_share = expf(rest - most);
  const float total = share + rest_share;
  return {most + logf(total), weight * (share / total), rest_share / total};
}

}  // namespace tamias
