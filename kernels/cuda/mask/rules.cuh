// The three rules: how many columns of a row each takes.
#pragma once

#include <cstdint>

#include "mass.cuh"
#include "select_problem.h"

namespace tamias {

enum class SelectRule { top_k, mass, threshold };

// What a rule needs to know of all scores of a row; each thread adds its share.
template <SelectRule kRule>
struct RowSums {
  __device__ explicit RowSums(float) {}
  __device__ void add(float, bool) {}
};

template <>
struct RowSums<SelectRule::mass> {
  double total = 0;
  double reached = 0;  // by always columns

  __device__ explicit RowSums(float) {}
  __device__ void add(float score, bool always) {
    const double mass = score > 0 ? score : 0;
    total += mass;
    if (always) reached += mass;
  }
};

// Distances from one of the scores, so that squares do not cancel.
template <>
struct RowSums<SelectRule::threshold> {
  double origin;
  double total = 0;
  double squares = 0;
  uint32_t numbers = 0;

  __device__ explicit RowSums(float first) : origin(isfinite(first) ? first : 0.0f) {}
  __device__ void add(float score, bool) {
    if (score != score) return;
    const double distance = score - origin;
    total += distance;
    squares += distance * distance;
    ++numbers;
  }

  template <int kThreads>
  __device__ double threshold(float z, Team<kThreads>& team) const {
    const double count = max(team.sum(numbers), 1u);
    const double mean = team.sum(total) / count;
    const double variance = team.sum(squares) / count - mean * mean;
    return origin + mean + z * sqrt(variance < 0 ? 0 : variance);  // NaN stays NaN
  }
};

template <SelectRule kRule>
struct RuleShared : CutShared {};
template <>
struct RuleShared<SelectRule::mass> : CutShared {
  MassShared mass;
};

// The columns that the scores themselves ask for beside the always columns.
struct Others {
  uint32_t count;
  bool certain;  // otherwise the source, from `lowest` on, does not tell
};

template <SelectRule kRule, int kThreads, class Source>
__device__ Others count_others(const SelectProblem& problem, const Source& source, float lowest,
                               const RowSums<kRule>& sums, RuleShared<kRule>& shared, Team<kThreads>& team) {
  if constexpr (kRule == SelectRule::mass) {
    const double reached = problem.always ? team.sum(sums.reached) : 0;
    const double goal = problem.mass * team.sum(sums.total);
    if (!(reached < goal)) return {0, true};
    const MassCount count = count_to_reach(source, reached, goal, shared, shared.mass, team);
    return {count.columns, count.enough || !(lowest > 0)};
  } else if constexpr (kRule == SelectRule::threshold) {
    const double threshold = sums.threshold(problem.z, team);
    uint32_t above = 0;
    source.for_each([&](uint32_t, uint32_t key) { above += score_of(key) > threshold; });
    return {team.sum(above), !(lowest > threshold)};
  } else {
    return {0, true};
  }
}

template <SelectRule kRule>
__device__ uint32_t count_wanted(const SelectProblem& problem, uint32_t always, uint32_t others) {
  int64_t wanted = static_cast<int64_t>(always) + others;
  if constexpr (kRule == SelectRule::top_k) wanted = problem.k;
  if constexpr (kRule == SelectRule::mass) wanted = max(wanted, problem.minimum);
  if constexpr (kRule != SelectRule::top_k) wanted = min(wanted, problem.maximum);
  wanted = max(static_cast<int64_t>(always), min(wanted, problem.columns));
  return static_cast<uint32_t>(min(wanted, problem.capacity));
}

// The cut that takes `wanted` >= `always` of a source that has all of a row.
template <int kThreads, class Source>
__device__ Cut cut_row(const SelectProblem& problem, const Source& source, uint32_t always, uint32_t wanted,
                       uint32_t members, CutShared& shared, Team<kThreads>& team) {
  if (wanted == always) return always ? cut_after_always() : cut_before_all();
  if (wanted == members) return cut_after_all();
  const Bracket bracket = {range_of(source, team), members, always};
  return find_cut(source, wanted, bracket, static_cast<uint32_t>(problem.columns), shared, team);
}

}  // namespace tamias
