// Rows that do not fit one block's registers. A sample tells a score that is surely below the cut; one pass over the
// row keeps the columns from there on, few enough for shared memory, and the exact choice is made among them. Where the
// sample misled, or the columns wanted are too many, the row is read once for every digit of the cut instead.
#pragma once

#include "choice.cuh"
#include "select_plan.h"
#include "select_row.cuh"
#include "write_columns.cuh"

namespace tamias {

constexpr int kLongThreads = 512;
constexpr int kSamplePieces = 2;  // of 4 neighbouring scores, per thread
constexpr uint32_t kSamples = kLongThreads * kSamplePieces * 4;
constexpr int kParts = kMostNamed >> 16;

// Places in the dynamic shared memory, in bytes.
struct LongLayout {
  uint32_t words;       // bits of a tile of columns
  uint32_t scores;      // of candidates
  uint32_t columns;     // of candidates, the lower 16 bits
  uint32_t capacity;    // candidates
  uint32_t tile;        // columns, a multiple of 32
  uint32_t prefetched;  // bytes of the next row that are asked for while the choice among candidates is made
  uint32_t bytes;       // of all
};

struct GlobalRow {
  static constexpr bool kMany = true;
  const float* scores;
  const uint8_t* always;
  int64_t always_step;
  uint32_t columns;

  template <class Visit>
  __device__ __forceinline__ void for_each(Visit visit) const {
#pragma unroll 4
    for (uint32_t column = threadIdx.x; column < columns; column += kLongThreads) {
      visit(column, key_of(scores[column]), always && always[column * always_step] != 0);
    }
  }

  template <class Visit>
  __device__ __forceinline__ void for_each_member(bool among_always, Visit visit) const {
    for_each([&](uint32_t column, uint32_t key, bool is_always) {
      if (is_always == among_always) visit(column, key);
    });
  }

  template <class Visit>
  __device__ __forceinline__ void for_each_key(bool among_always, Visit visit) const {
    for_each_member(among_always, [&](uint32_t, uint32_t key) { visit(key); });
  }
};

// A row cut into pieces of 4 scores, from its first 16-byte boundary on. Positions count from there; the up to 3
// columns before it come last.
struct AlignedRow {
  const float* scores;
  uint32_t columns;
  uint32_t head;
  uint32_t pieces;

  __device__ AlignedRow(const float* scores, uint32_t columns) : scores(scores), columns(columns) {
    head = min(columns, static_cast<uint32_t>((16 - reinterpret_cast<uintptr_t>(scores) % 16) % 16 / sizeof(float)));
    pieces = (columns - head) / 4;
  }

  __device__ float4 piece(uint32_t index) const { return reinterpret_cast<const float4*>(scores + head)[index]; }

  __device__ uint32_t column(uint32_t position) const {
    const uint32_t column = position + head;
    return column < columns ? column : column - columns;
  }
};

struct Sample {
  static constexpr bool kMany = false;
  uint32_t keys[kSamplePieces * 4];

  // One piece of each of as many equal stretches, at a place that follows no pattern.
  __device__ explicit Sample(const AlignedRow& row) {
    constexpr uint32_t kPieces = kLongThreads * kSamplePieces;
    float4 values[kSamplePieces];
#pragma unroll
    for (int i = 0; i < kSamplePieces; ++i) {
      const uint32_t stretch = i * kLongThreads + threadIdx.x;
      const uint32_t begin = static_cast<uint64_t>(row.pieces) * stretch / kPieces;
      const uint32_t end = static_cast<uint64_t>(row.pieces) * (stretch + 1) / kPieces;
      const uint32_t mixed = (stretch * 2654435761u ^ 0x9e3779b9u) * 2246822519u >> 16;
      values[i] = row.piece(begin + mixed % max(end - begin, 1u));
    }
#pragma unroll
    for (int i = 0; i < kSamplePieces; ++i) {
      keys[i * 4] = key_of(values[i].x);
      keys[i * 4 + 1] = key_of(values[i].y);
      keys[i * 4 + 2] = key_of(values[i].z);
      keys[i * 4 + 3] = key_of(values[i].w);
    }
  }

  // None of them is taken for an always column.
  template <class Visit>
  __device__ __forceinline__ void for_each_key(bool, Visit visit) const {
#pragma unroll
    for (int i = 0; i < kSamplePieces * 4; ++i) visit(keys[i]);
  }

  template <class Visit>
  __device__ __forceinline__ void for_each_member(bool, Visit visit) const {
#pragma unroll
    for (int i = 0; i < kSamplePieces * 4; ++i) visit(i * kLongThreads + threadIdx.x, keys[i]);
  }

  template <class Visit>
  __device__ __forceinline__ void for_each(Visit visit) const {
    for_each_member(false, [&](uint32_t column, uint32_t key) { visit(column, key, false); });
  }
};

struct Candidates {
  static constexpr bool kMany = false;
  const float* scores;
  const uint16_t* low;
  const uint32_t* words;     // the always columns, or null
  const uint32_t* part_end;  // how many candidates the row has up to each 65,536 positions
  uint32_t count;
  AlignedRow row;

  __device__ __forceinline__ uint32_t column(uint32_t i) const {
    uint32_t part = 0;
#pragma unroll
    for (int p = 0; p + 1 < kParts; ++p) part += i >= part_end[p];
    return row.column(part << 16 | low[i]);
  }

  __device__ bool is_always(uint32_t column) const { return words && (words[column / 32] >> column % 32 & 1) != 0; }

  // Of those that are not always columns; those are chosen already.
  template <class Visit>
  __device__ __forceinline__ void for_each_member(bool, Visit visit) const {
    for (uint32_t i = threadIdx.x; i < count; i += kLongThreads) {
      const uint32_t at = column(i);
      if (!is_always(at)) visit(at, key_of(scores[i]));
    }
  }

  template <class Visit>
  __device__ __forceinline__ void for_each_key(bool, Visit visit) const {
#pragma unroll 4
    for (uint32_t i = threadIdx.x; i < count; i += kLongThreads) {
      if (!words || !is_always(column(i))) visit(key_of(scores[i]));
    }
  }
};

// What the pass over the row adds up beside its candidates.
template <SelectRule kRule>
struct RowSums {
  __device__ explicit RowSums(float) {}
  __device__ void add(float) {}
};
template <>
struct RowSums<SelectRule::mass> {
  double total = 0;
  __device__ explicit RowSums(float) {}
  __device__ void add(float score) { total += score > 0 ? score : 0; }
};
// Distances from one of the scores, so that squares do not cancel.
template <>
struct RowSums<SelectRule::threshold> {
  double origin;
  double total = 0;
  double squares = 0;
  uint32_t numbers = 0;
  __device__ explicit RowSums(float first) : origin(isfinite(first) ? first : 0.0f) {}
  __device__ void add(float score) {
    if (score != score) return;
    const double distance = score - origin;
    total += distance;
    squares += distance * distance;
    ++numbers;
  }
};

template <SelectRule kRule>
struct LongShared : ChoiceShared<kRule> {
  uint32_t candidates;
  uint32_t part_end[kParts];
};

template <SelectRule kRule>
struct LongRows {
  const SelectProblem& problem;
  const LongLayout& layout;
  LongShared<kRule>& shared;
  char* memory;                   // dynamic shared
  const uint32_t* always_words;   // of this block, in global memory; null: no column is always chosen
  uint32_t always_count;

  __device__ uint32_t* words() const { return reinterpret_cast<uint32_t*>(memory + layout.words); }
  __device__ float* scores() const { return reinterpret_cast<float*>(memory + layout.scores); }
  __device__ uint16_t* low() const { return reinterpret_cast<uint16_t*>(memory + layout.columns); }
  __device__ uint32_t columns() const { return static_cast<uint32_t>(problem.columns); }
  __device__ int row_words() const { return static_cast<int>((columns() + 31) / 32); }

  // Where the cut is, as far as the sample tells; from NaN on if it cannot tell.
  __device__ Range guess(const AlignedRow& row) {
    const Sample sample(row);
    Range range = range_of<kLongThreads>(sample, false, shared.sums);
    const float share = static_cast<float>(kSamples) / columns();
    float expected;
    if constexpr (kRule == SelectRule::top_k) {
      expected = static_cast<float>(count_wanted<kRule>(problem, always_count, 0)) * share;
    } else {
      float count;
      if constexpr (kRule == SelectRule::mass) {
        double total = 0;
        sample.for_each_key(false, [&](uint32_t key) { total += positive(key); });
        total = block_sum<kLongThreads>(total, shared.sums);
        const double goal = problem.mass * total;
        count = goal > 0 ? count_to_reach<kLongThreads>(sample, 0, goal, shared, shared.mass).columns : 0;
        count = max(count, static_cast<float>(problem.minimum) * share);
      } else {
        const double threshold = find_threshold<kLongThreads>(problem, sample, shared.sums);
        uint32_t above = 0;
        sample.for_each_key(false, [&](uint32_t key) { above += score_of(key) > threshold; });
        count = block_sum<kLongThreads>(above, shared.sums);
      }
      expected = min(count, static_cast<float>(problem.maximum) * share) + always_count * share;
    }
    // Four deviations, as if pairs of neighbours were alike.
    const float rank = expected + 4 * sqrtf(2 * expected * max(0.0f, 1 - expected / kSamples)) + 8;
    if (rank >= kSamples || rank / share > layout.capacity) return every_key();
    const Bins bins(best_of(range));
    sample.for_each_key(false, [&](uint32_t key) { atomicAdd(&shared.counts[bins.of(key)], 1u); });
    const Bin bin = find_bin<kLongThreads>(static_cast<uint32_t>(rank), shared);
    range.lowest = bins.narrowed(range, bin.index).lowest;
    return range;
  }

  // Keeps the candidates of the row: scores of at least `lowest`. More than fit are counted only.
  __device__ Candidates collect(const AlignedRow& row, float lowest, RowSums<kRule>& sums) {
    constexpr int kBatch = 4;
    const int lane = threadIdx.x % kWarp;
    const auto keep = [&](float score, uint32_t& at, uint32_t position) {
      if (score >= lowest) {
        scores()[at] = score;
        low()[at] = static_cast<uint16_t>(position);
        ++at;
      }
    };
    const auto room = [&](uint32_t count, uint32_t& at) {
      const uint32_t inclusive = warp_inclusive_sum(count);
      uint32_t first = 0;
      if (lane == kWarp - 1) first = inclusive ? atomicAdd(&shared.candidates, inclusive) : 0;
      first = __shfl_sync(kAllLanes, first, kWarp - 1);
      at = first + inclusive - count;
      return first + __shfl_sync(kAllLanes, inclusive, kWarp - 1) <= layout.capacity;
    };
#pragma unroll 1
    for (int part = 0; part <= static_cast<int>((columns() - 1) >> 16); ++part) {
      constexpr uint32_t kPartPieces = (1u << 16) / 4;
      const uint32_t end = min(row.pieces, (part + 1) * kPartPieces);
      for (uint32_t first = part * kPartPieces + threadIdx.x / kWarp * kWarp * kBatch; first < end;
           first += kLongThreads * kBatch) {
        float4 values[kBatch];
#pragma unroll
        for (int i = 0; i < kBatch; ++i) {
          const uint32_t piece = first + i * kWarp + lane;
          values[i] = piece < end ? row.piece(piece) : make_float4(NAN, NAN, NAN, NAN);
        }
        uint32_t count = 0;
#pragma unroll
        for (int i = 0; i < kBatch; ++i) {
          count += (values[i].x >= lowest) + (values[i].y >= lowest) + (values[i].z >= lowest) +
                   (values[i].w >= lowest);
          sums.add(values[i].x);
          sums.add(values[i].y);
          sums.add(values[i].z);
          sums.add(values[i].w);
        }
        uint32_t at;
        if (!room(count, at)) continue;
#pragma unroll
        for (int i = 0; i < kBatch; ++i) {
          const uint32_t position = (first + i * kWarp + lane) * 4;
          keep(values[i].x, at, position);
          keep(values[i].y, at, position + 1);
          keep(values[i].z, at, position + 2);
          keep(values[i].w, at, position + 3);
        }
      }
      if (threadIdx.x < kWarp) {  // what is no whole piece
        const uint32_t position = row.pieces * 4 + lane;
        const bool exists = position < columns() && static_cast<int>(position >> 16) == part;
        const float score = exists ? row.scores[row.column(position)] : NAN;
        sums.add(score);
        uint32_t at;
        if (room(score >= lowest, at)) keep(score, at, position);
      }
      __syncthreads();
      if (threadIdx.x == 0) shared.part_end[part] = shared.candidates;
      __syncthreads();
    }
    return {scores(), low(), always_words ? words() : nullptr, shared.part_end, shared.candidates, row};
  }

  __device__ double always_mass(const float* row) {
    double sum = 0;
    for (int i = threadIdx.x; i < row_words(); i += kLongThreads) {
      for (uint32_t word = always_words[i]; word; word &= word - 1) {
        const float score = row[i * 32 + __ffs(word) - 1];
        sum += score > 0 ? score : 0;
      }
    }
    return block_sum<kLongThreads>(sum, shared.sums);
  }

  // Marks the row's choice in `words`, or says that its candidates are not enough to tell.
  __device__ bool choose_among_candidates(const float* row_scores, const float* next_scores, uint32_t& wanted) {
    const AlignedRow row(row_scores, columns());
    const Range guessed = guess(row);
    const float lowest = score_of(guessed.lowest);
    if (lowest != lowest) return false;
    for (int i = threadIdx.x; i < row_words(); i += kLongThreads) words()[i] = always_words ? always_words[i] : 0;
    if (threadIdx.x == 0) shared.candidates = 0;
    if (threadIdx.x < kParts) shared.part_end[threadIdx.x] = ~0u;
    __syncthreads();
    RowSums<kRule> sums(row_scores[0]);
    const Candidates candidates = collect(row, lowest, sums);
    if (next_scores && threadIdx.x == 0) prefetch(next_scores);
    if (candidates.count > layout.capacity) return false;
    uint32_t members = candidates.count;
    if (always_words) {
      uint32_t own = 0;
      candidates.for_each_key(false, [&](uint32_t) { ++own; });
      members = block_sum<kLongThreads>(own, shared.sums);
    }
    int64_t others = 0;
    if constexpr (kRule == SelectRule::mass) {
      const double reached = always_words ? always_mass(row_scores) : 0;
      const double goal = problem.mass * block_sum<kLongThreads>(sums.total, shared.sums);
      if (reached < goal) {
        const MassCount count = count_to_reach<kLongThreads>(candidates, reached, goal, shared, shared.mass);
        if (!count.enough && lowest > 0) return false;
        others = count.columns;
      }
    }
    if constexpr (kRule == SelectRule::threshold) {
      const double numbers = block_sum<kLongThreads>(sums.numbers, shared.sums);
      const double mean = block_sum<kLongThreads>(sums.total, shared.sums) / max(numbers, 1.0);
      const double variance = block_sum<kLongThreads>(sums.squares, shared.sums) / max(numbers, 1.0) - mean * mean;
      const double deviation = variance < 0 ? 0 : sqrt(variance);  // NaN stays
      const double threshold = sums.origin + mean + problem.z * deviation;
      if (lowest > threshold) return false;
      uint32_t above = 0;
      candidates.for_each_key(false, [&](uint32_t key) { above += score_of(key) > threshold; });
      others = block_sum<kLongThreads>(above, shared.sums);
    }
    const int64_t count = count_wanted<kRule>(problem, always_count, others);
    if (count < always_count || count - always_count > members) return false;
    wanted = static_cast<uint32_t>(count);
    const uint32_t need = wanted - always_count;
    if (need == 0) return true;
    Cut cut = cut_after_all();
    if (need < members) {
      cut = find_cut<kLongThreads>(candidates, false, need, {guessed.lowest, every_key().highest}, guessed, shared);
    }
    candidates.for_each_member(false, [&](uint32_t column, uint32_t key) {
      if (cut.takes(column, key)) atomicOr(words() + column / 32, 1u << column % 32);
    });
    __syncthreads();
    return true;
  }

  __device__ void prefetch(const float* scores) const {
    const uint64_t begin = (reinterpret_cast<uint64_t>(scores) + 15) / 16 * 16;
#if __CUDA_ARCH__ >= 900
    if (layout.prefetched) {
      asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(begin), "r"(layout.prefetched) : "memory");
    }
#endif
  }

  // Any row: as many passes over it as the cut has digits, and one to write the list.
  template <class Index>
  __device__ void choose_and_write(const float* row_scores, Index* list, uint32_t& wanted) {
    const GlobalRow source{row_scores, problem.always, problem.always_step, columns()};
    const Choice choice = choose<kLongThreads, kRule>(problem, source, shared, wanted);
    for (int64_t first = 0; first < problem.columns; first += layout.tile) {
      const uint32_t count = static_cast<uint32_t>(min(problem.columns - first, static_cast<int64_t>(layout.tile)));
      for (uint32_t i = threadIdx.x; i < (count + 31) / 32 * 32; i += kLongThreads) {
        const int64_t column = first + i;
        const bool taken =
            i < count && choice.takes(static_cast<uint32_t>(column), key_of(row_scores[column]),
                                      problem.always && problem.always[column * problem.always_step] != 0);
        const uint32_t word = __ballot_sync(kAllLanes, taken);
        if (i % 32 == 0) words()[i / 32] = word;
      }
      __syncthreads();
      list += write_columns<kLongThreads>(words(), static_cast<int>((count + 31) / 32), static_cast<uint32_t>(first),
                                          list, shared.sums);
      __syncthreads();
    }
  }

  template <class Index>
  __device__ void select(const float* row_scores, const float* next_scores, Index* list, uint32_t& wanted) {
    if (problem.columns > layout.tile || !choose_among_candidates(row_scores, next_scores, wanted)) {
      __syncthreads();
      choose_and_write(row_scores, list, wanted);
      return;
    }
    if (wanted * sizeof(Index) <= layout.capacity * (sizeof(float) + sizeof(uint16_t))) {
      write_staged_columns<kLongThreads>(words(), row_words(), reinterpret_cast<Index*>(scores()), list, shared.sums);
    } else {
      write_columns<kLongThreads>(words(), row_words(), 0, list, shared.sums);
    }
    __syncthreads();
  }
};

template <SelectRule kRule>
__global__ __launch_bounds__(kLongThreads, 2) void select_long_rows(const SelectProblem problem,
                                                                    const LongLayout layout, uint32_t* workspace) {
  extern __shared__ __align__(16) char memory[];
  __shared__ LongShared<kRule> shared;
  clear<kLongThreads, kRule>(shared);
  LongRows<kRule> rows{problem, layout, shared, memory, nullptr, 0};
  if (problem.always && problem.columns <= layout.tile) {
    uint32_t* words = workspace + static_cast<int64_t>(blockIdx.x) * (layout.tile / 32);
    uint32_t count = 0;
    const uint32_t padded = static_cast<uint32_t>((problem.columns + 31) / 32 * 32);
    for (uint32_t column = threadIdx.x; column < padded; column += kLongThreads) {
      const bool always = column < problem.columns && problem.always[column * problem.always_step] != 0;
      const uint32_t word = __ballot_sync(kAllLanes, always);
      if (column % 32 == 0) words[column / 32] = word;
      count += always;
    }
    rows.always_count = block_sum<kLongThreads>(count, shared.sums);  // its barriers publish the words too
    rows.always_words = words;
  }
  const int64_t row_count = problem.batch * problem.lists * problem.groups;
  for (int64_t index = blockIdx.x; index < row_count; index += gridDim.x) {
    const Row row = row_at(problem, index);
    if (row.dense) {
      if (threadIdx.x == 0) problem.counts[index] = TAMIAS_ALL_COLUMNS;
      continue;
    }
    const int64_t next = index + gridDim.x;
    const float* next_scores = next < row_count ? row_at(problem, next).scores : nullptr;
    uint32_t wanted = 0;
    if (problem.short_indices) {
      rows.select(row.scores, next_scores, static_cast<uint16_t*>(problem.indices) + row.list, wanted);
    } else {
      rows.select(row.scores, next_scores, static_cast<int32_t*>(problem.indices) + row.list, wanted);
    }
    if (threadIdx.x == 0) problem.counts[index] = static_cast<int32_t>(wanted);
  }
}

}  // namespace tamias
