// Choosing columns of one row of scores, exactly and in O(columns).
//
// Columns are ordered by (always, score, lower column first). A selection is the first `count` columns of that order,
// written in ascending order of column; finding the last column to take is a radix selection over the scores' bits.
#pragma once

#include <cstdint>

namespace tamias {

struct ScoreRow {
  const float* scores;
  const uint8_t* always;  // null: none
  int64_t always_step;
  int64_t columns;

  bool is_always(int64_t column) const { return always && always[column * always_step] != 0; }
};

// How many columns each rule takes, before the capacity is looked at.
int64_t count_top_k(const ScoreRow& row, int64_t k, uint32_t* keys);
int64_t count_mass(const ScoreRow& row, float mass, int64_t minimum, int64_t maximum, uint32_t* keys);
int64_t count_threshold(const ScoreRow& row, float z, int64_t maximum, uint32_t* keys);

// Writes the first `count` columns of the order. keys: scratch for [columns], filled by the count_ function.
void write_selection(const ScoreRow& row, const uint32_t* keys, int64_t count, bool short_indices, void* indices);

}  // namespace tamias
