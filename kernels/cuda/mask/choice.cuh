// From a row's scores to a choice: how many columns the rule takes, and where the order of columns is cut.
#pragma once

#include <cstdint>

#include "cut.cuh"
#include "mass.cuh"
#include "select_problem.h"

namespace tamias {

enum class SelectRule { top_k, mass, threshold };

struct Choice {
  Cut cut;
  bool among_always;  // the cut is among the always columns, which are too many; no other column is taken

  __device__ bool takes(uint32_t column, uint32_t key, bool always) const {
    return always == among_always ? cut.takes(column, key) : always;
  }
};

template <SelectRule kRule>
struct ChoiceShared : CutShared {
  MassShared mass;
};
template <>
struct ChoiceShared<SelectRule::top_k> : CutShared {};
template <>
struct ChoiceShared<SelectRule::threshold> : CutShared {};

template <int kThreads, SelectRule kRule>
__device__ void clear(ChoiceShared<kRule>& shared) {
  if constexpr (kRule == SelectRule::mass) clear_sums<kThreads>(shared.mass);
  clear_counts<kThreads>(shared);
}

// What a rule takes, given how many columns its scores alone ask for beside the always columns.
template <SelectRule kRule>
__device__ int64_t count_wanted(const SelectProblem& problem, int64_t always, int64_t others) {
  int64_t wanted = always + others;
  if constexpr (kRule == SelectRule::top_k) wanted = problem.k;
  if constexpr (kRule == SelectRule::mass) wanted = max(wanted, problem.minimum);
  if constexpr (kRule != SelectRule::top_k) wanted = min(wanted, problem.maximum);
  return min(max(always, min(wanted, problem.columns)), problem.capacity);
}

__device__ __forceinline__ double positive(uint32_t key) { return key > kZeroKey ? score_of(key) : 0.0f; }

template <int kThreads, class Source>
__device__ double find_threshold(const SelectProblem& problem, const Source& source, BlockSums& sums) {
  uint32_t numbers = 0;
  double total = 0;
  source.for_each([&](uint32_t, uint32_t key, bool) {
    if (key == 0) return;
    ++numbers;
    total += score_of(key);
  });
  const double count = block_sum<kThreads>(numbers, sums);
  total = block_sum<kThreads>(total, sums);
  const double mean = count > 0 ? total / count : 0;
  double squares = 0;
  source.for_each([&](uint32_t, uint32_t key, bool) {
    const double distance = score_of(key) - mean;
    if (key != 0) squares += distance * distance;
  });
  squares = block_sum<kThreads>(squares, sums);
  return mean + problem.z * sqrt(count > 0 ? squares / count : 0);
}

// The choice among the columns of a source that has all of a row. `wanted`: how many it takes.
template <int kThreads, SelectRule kRule, class Source>
__device__ Choice choose(const SelectProblem& problem, const Source& source, ChoiceShared<kRule>& shared,
                         uint32_t& wanted) {
  uint32_t always = 0;
  if (problem.always) {
    source.for_each([&](uint32_t, uint32_t, bool is_always) { always += is_always; });
    always = block_sum<kThreads>(always, shared.sums);
  }
  int64_t others = 0;
  if constexpr (kRule == SelectRule::mass) {
    double total = 0;
    double reached = 0;
    source.for_each([&](uint32_t, uint32_t key, bool is_always) {
      total += positive(key);
      if (is_always) reached += positive(key);
    });
    total = block_sum<kThreads>(total, shared.sums);
    if (problem.always) reached = block_sum<kThreads>(reached, shared.sums);
    const double goal = problem.mass * total;
    if (reached < goal) others = count_to_reach<kThreads>(source, reached, goal, shared, shared.mass).columns;
  }
  if constexpr (kRule == SelectRule::threshold) {
    const double threshold = find_threshold<kThreads>(problem, source, shared.sums);
    uint32_t above = 0;
    source.for_each(
        [&](uint32_t, uint32_t key, bool is_always) { above += !is_always && score_of(key) > threshold; });
    others = block_sum<kThreads>(above, shared.sums);
  }
  wanted = static_cast<uint32_t>(count_wanted<kRule>(problem, always, others));
  const bool among_always = wanted < always;
  const uint32_t need = among_always ? wanted : wanted - always;
  const uint32_t members = among_always ? always : static_cast<uint32_t>(problem.columns) - always;
  if (need == 0) return {cut_before_all(), among_always};
  if (need == members) return {cut_after_all(), among_always};
  const Range range = range_of<kThreads>(source, among_always, shared.sums);
  return {find_cut<kThreads>(source, among_always, need, range, best_of(range), shared), among_always};
}

}  // namespace tamias
