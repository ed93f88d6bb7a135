// How many of the best columns reach a share of the scores' sum.
#pragma once

#include <cmath>
#include <cstdint>

#include "cut.cuh"

namespace tamias {

struct MassShared {
  double scores[kFew];
};

struct MassCount {
  uint32_t columns;
  bool enough;  // the source's positive scores reach the goal
};

// The number and sum of the scores from a key on, added up by each thread in Sum.
struct Upper {
  uint32_t count;
  double mass;
};

template <class Sum, int kThreads, class Source>
__device__ __forceinline__ Upper upper_of(const Source& source, uint32_t lowest, Team<kThreads>& team) {
  uint32_t count = 0;
  Sum mass = 0;
  source.for_each([&](uint32_t, uint32_t key) {
    if ((key >= lowest) & (key <= kHighestKey)) {
      ++count;
      mass += score_of(key);
    }
  });
  return {team.sum(count), team.sum(static_cast<double>(mass))};
}

// The narrowest range that has the column whose score brings `reached` to `goal`, as far as sums in Sum can tell.
template <class Sum, int kThreads, class Source>
__device__ Range find_mass(const Source& source, double reached, double goal, Range range, uint32_t& from,
                           uint32_t& above, Team<kThreads>& team) {
  while (range.lowest < range.highest && from - above > kFew) {
    const uint32_t middle = range.middle();
    const Upper upper = upper_of<Sum>(source, middle, team);
    if (reached + upper.mass >= goal) {
      range.lowest = middle;
      from = upper.count;
    } else {
      range.highest = middle - 1;
      above = upper.count;
    }
  }
  return range;
}

// How many of the source's best columns beside the always columns it takes to bring `reached`, which is less, to
// `goal`.
template <int kThreads, class Source>
__device__ MassCount count_to_reach(const Source& source, double reached, double goal, CutShared& shared,
                                    MassShared& mass, Team<kThreads>& team) {
  Range all = range_of(source, team);
  if (all.highest <= kZeroKey || all.highest > kHighestKey) return {0, false};
  all.lowest = max(all.lowest, kZeroKey + 1);
  const Upper positive = upper_of<double>(source, all.lowest, team);
  if (reached + positive.mass < goal) return {positive.count, false};
  // Quick sums find the place nearly always; exact ones prove it.
  for (bool exact = false;; exact = true) {
    uint32_t from = positive.count;
    uint32_t above = 0;
    const Range range = exact ? find_mass<double>(source, reached, goal, all, from, above, team)
                              : find_mass<float>(source, reached, goal, all, from, above, team);
    const Upper better = upper_of<double>(source, range.highest + 1, team);
    const double before = reached + better.mass;
    const uint32_t members = from - above;
    if (range.lowest == range.highest) {  // of one score
      const double score = score_of(range.lowest);
      const double copies = isinf(score) ? 1 : ceil((goal - before) / score);
      if (!exact && (copies < 1 || copies > members)) continue;
      const double taken = min(max(copies, 1.0), static_cast<double>(members));
      return {above + static_cast<uint32_t>(taken), true};
    }
    uint32_t rank;
    const uint64_t own = rank_few(source, range, members, shared, rank);
    if (threadIdx.x < members) mass.scores[rank] = score_of(static_cast<uint32_t>(own >> 32));
    __syncthreads();
    double sum = before;
    uint32_t taken = 0;
    while (taken < members && sum < goal) sum += mass.scores[taken++];
    __syncthreads();
    if (!exact && (before >= goal || sum < goal)) continue;
    return {above + max(taken, 1u), true};
  }
}

}  // namespace tamias
