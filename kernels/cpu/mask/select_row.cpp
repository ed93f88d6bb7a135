#include "select_row.h"

#include <algorithm>
#include <bit>
#include <cmath>

namespace tamias {
namespace {

// Unsigned integers in the order of the scores; NaN is lowest.
uint32_t key_of(float score) {
  if (score != score) return 0;
  const uint32_t bits = std::bit_cast<uint32_t>(score + 0.0f);  // -0 becomes +0
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

float score_of(uint32_t key) {
  return std::bit_cast<float>(key & 0x80000000u ? key & 0x7fffffffu : ~key);
}

void make_keys(const ScoreRow& row, uint32_t* keys) {
  for (int64_t c = 0; c < row.columns; ++c) keys[c] = key_of(row.scores[c]);
}

int64_t count_always(const ScoreRow& row) {
  int64_t count = 0;
  if (row.always) {
    for (int64_t c = 0; c < row.columns; ++c) count += row.is_always(c);
  }
  return count;
}

// The digits of a key from the highest: 11 + 11 + 10 bits.
constexpr int kDigits = 3;
constexpr int kShift[kDigits] = {21, 10, 0};
constexpr int kBits[kDigits] = {11, 11, 10};
constexpr int kBuckets = 1 << 11;

struct Cut {
  uint32_t key;   // of the last column taken
  int64_t equal;  // how many columns of this key are taken, the lowest ones
};

// The cut that takes `count` >= 1 of the columns whose always flag is `always`.
Cut find_cut(const ScoreRow& row, const uint32_t* keys, bool always, int64_t count) {
  uint32_t prefix = 0;
  uint32_t prefix_mask = 0;
  for (int digit = 0; digit < kDigits; ++digit) {
    uint32_t histogram[kBuckets] = {};
    const uint32_t digit_mask = (1u << kBits[digit]) - 1;
    for (int64_t c = 0; c < row.columns; ++c) {
      if ((keys[c] & prefix_mask) == prefix && row.is_always(c) == always) {
        ++histogram[keys[c] >> kShift[digit] & digit_mask];
      }
    }
    uint32_t bucket = digit_mask;
    while (histogram[bucket] < count) count -= histogram[bucket--];
    prefix |= bucket << kShift[digit];
    prefix_mask |= digit_mask << kShift[digit];
  }
  return {prefix, count};
}

// How many of the best columns that are not always chosen it takes to bring `reached` to `goal`.
int64_t count_to_reach(const ScoreRow& row, const uint32_t* keys, double reached, double goal) {
  int64_t taken = 0;
  uint32_t prefix = 0;
  uint32_t prefix_mask = 0;
  const uint32_t zero = key_of(0.0f);
  for (int digit = 0; digit < kDigits; ++digit) {
    uint32_t histogram[kBuckets] = {};
    double sums[kBuckets] = {};
    const uint32_t digit_mask = (1u << kBits[digit]) - 1;
    for (int64_t c = 0; c < row.columns; ++c) {
      if (keys[c] <= zero || (keys[c] & prefix_mask) != prefix || row.is_always(c)) continue;
      const uint32_t bucket = keys[c] >> kShift[digit] & digit_mask;
      ++histogram[bucket];
      sums[bucket] += score_of(keys[c]);
    }
    int64_t bucket = digit_mask;
    while (bucket >= 0 && (histogram[bucket] == 0 || reached + sums[bucket] < goal)) {
      taken += histogram[bucket];
      reached += sums[bucket--];
    }
    if (bucket < 0) return taken;  // all positive scores together; only rounding can lead here
    prefix |= static_cast<uint32_t>(bucket) << kShift[digit];
    prefix_mask |= digit_mask << kShift[digit];
    if (digit + 1 < kDigits) continue;
    const double score = score_of(prefix);
    const double copies = std::isinf(score) ? 1 : std::ceil((goal - reached) / score);
    taken += std::clamp<int64_t>(static_cast<int64_t>(copies), 1, histogram[bucket]);
  }
  return taken;
}

template <class Index>
void write_columns(const ScoreRow& row, const uint32_t* keys, bool all_always, const Cut& always_cut, bool others,
                   const Cut& cut, Index* indices) {
  int64_t always_equal = always_cut.equal;
  int64_t equal = cut.equal;
  for (int64_t c = 0; c < row.columns; ++c) {
    bool take;
    if (row.is_always(c)) {
      take = all_always || keys[c] > always_cut.key || (keys[c] == always_cut.key && always_equal-- > 0);
    } else {
      take = others && (keys[c] > cut.key || (keys[c] == cut.key && equal-- > 0));
    }
    if (take) *indices++ = static_cast<Index>(c);
  }
}

}  // namespace

int64_t count_top_k(const ScoreRow& row, int64_t k, uint32_t* keys) {
  make_keys(row, keys);
  return std::max(std::min(k, row.columns), count_always(row));
}

int64_t count_mass(const ScoreRow& row, float mass, int64_t minimum, int64_t maximum, uint32_t* keys) {
  make_keys(row, keys);
  double total = 0;
  double reached = 0;
  for (int64_t c = 0; c < row.columns; ++c) {
    const double score = row.scores[c] > 0 ? row.scores[c] : 0;
    total += score;
    if (row.is_always(c)) reached += score;
  }
  const double goal = mass * total;
  const int64_t always = count_always(row);
  const int64_t needed = always + (reached < goal ? count_to_reach(row, keys, reached, goal) : 0);
  return std::max(always, std::min({std::max(needed, minimum), maximum, row.columns}));
}

int64_t count_threshold(const ScoreRow& row, float z, int64_t maximum, uint32_t* keys) {
  make_keys(row, keys);
  int64_t numbers = 0;
  double total = 0;
  for (int64_t c = 0; c < row.columns; ++c) {
    if (row.scores[c] != row.scores[c]) continue;
    ++numbers;
    total += row.scores[c];
  }
  const double mean = numbers ? total / numbers : 0;
  double squares = 0;
  for (int64_t c = 0; c < row.columns; ++c) {
    const double distance = row.scores[c] - mean;
    if (row.scores[c] == row.scores[c]) squares += distance * distance;
  }
  const double threshold = mean + z * std::sqrt(numbers ? squares / numbers : 0);
  const int64_t always = count_always(row);
  int64_t count = always;
  for (int64_t c = 0; c < row.columns; ++c) count += row.scores[c] > threshold && !row.is_always(c);
  return std::max(always, std::min(count, maximum));
}

void write_selection(const ScoreRow& row, const uint32_t* keys, int64_t count, bool short_indices, void* indices) {
  if (count <= 0) return;
  const int64_t always = count_always(row);
  const bool all_always = count >= always;
  const bool others = count > always;
  const Cut none{};
  const Cut always_cut = all_always ? none : find_cut(row, keys, true, count);
  const Cut cut = others ? find_cut(row, keys, false, count - always) : none;
  if (short_indices) {
    write_columns(row, keys, all_always, always_cut, others, cut, static_cast<uint16_t*>(indices));
  } else {
    write_columns(row, keys, all_always, always_cut, others, cut, static_cast<int32_t*>(indices));
  }
}

}  // namespace tamias
