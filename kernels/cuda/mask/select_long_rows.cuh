// Rows that do not fit one block's registers. A sample tells a score that is surely below the cut; one pass over the
// row keeps the columns from there on, few enough for shared memory, and the exact choice is made among them. Where the
// sample misled, or the columns wanted are too many, the row is read again and again instead.
#pragma once

#include "rules.cuh"
#include "select_plan.h"
#include "select_row.cuh"
#include "write_columns.cuh"

namespace tamias {

constexpr int kLongThreads = 512;
using LongTeam = Team<kLongThreads>;

// Places in the dynamic shared memory, in bytes.
struct LongLayout {
  uint32_t keys;      // of candidates
  uint32_t columns;   // of candidates
  uint32_t capacity;  // candidates
  uint32_t tile;      // columns whose bits fit in the memory
  uint32_t bytes;     // of all
};

struct GlobalRow {
  const Row& row;
  bool keeps_always;  // nothing but the always columns, by their scores

  __device__ __forceinline__ uint32_t key(uint32_t column) const {
    const uint32_t key = key_of(row.scores[column]);
    if (keeps_always) return row.is_always(column) ? key : kNoKey;
    return row.is_always(column) ? kAlwaysKey : key;
  }

  template <class Visit>
  __device__ __forceinline__ void for_each(Visit visit) const {
#pragma unroll 4
    for (uint32_t column = threadIdx.x; column < row.columns; column += kLongThreads) visit(column, key(column));
  }
};

// A row cut into pieces of 4 scores, from its first 16-byte boundary on. Batches of pieces are handled by a warp each;
// before the first is one for the columns before the boundary, behind the last one for the rest.
struct Pieces {
  static constexpr uint32_t kOfLane = 4;  // pieces in a batch
  static constexpr uint32_t kBatch = kOfLane * kWarp * 4;  // columns

  const float* scores;
  uint32_t columns, head, count, batches;

  __device__ explicit Pieces(const Row& row) : scores(row.scores), columns(row.columns) {
    head = min(columns, static_cast<uint32_t>((16 - reinterpret_cast<uintptr_t>(scores) % 16) % 16 / sizeof(float)));
    count = (columns - head) / 4;
    batches = (count + kOfLane * kWarp - 1) / (kOfLane * kWarp);
  }

  __device__ __forceinline__ float4 at(uint32_t piece) const {
    return reinterpret_cast<const float4*>(scores + head)[piece];
  }
  __device__ uint32_t rest() const { return head + count * 4; }
  __device__ __forceinline__ uint32_t batch_of(uint32_t column) const {
    if (column >= rest()) return batches + 1;
    return column < head ? 0 : (column - head) / kBatch + 1;
  }
};

constexpr int kMostBatches = kMostNamed / Pieces::kBatch + 2;

struct Sample {
  static constexpr int kPieces = 3;  // of a thread
  static constexpr uint32_t kSize = kLongThreads * kPieces * 4;

  uint32_t keys[kPieces * 4];

  // One piece of each of as many equal stretches, at a place that follows no pattern.
  template <SelectRule kRule>
  __device__ Sample(const Pieces& pieces, RowSums<kRule>& sums) {
    constexpr uint32_t kStretches = kLongThreads * kPieces;
    float4 values[kPieces];
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      const uint32_t stretch = i * kLongThreads + threadIdx.x;
      const uint32_t begin = static_cast<uint64_t>(pieces.count) * stretch / kStretches;
      const uint32_t end = static_cast<uint64_t>(pieces.count) * (stretch + 1) / kStretches;
      values[i] = pieces.at(begin + __umulhi((stretch * 2654435761u ^ 0x9e3779b9u) * 2246822519u, end - begin));
    }
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      const float scores[4] = {values[i].x, values[i].y, values[i].z, values[i].w};
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        keys[i * 4 + k] = key_of(scores[k]);
        sums.add(scores[k], false);
      }
    }
  }

  template <class Visit>
  __device__ __forceinline__ void for_each(Visit visit) const {
#pragma unroll
    for (int i = 0; i < kPieces * 4; ++i) visit(i * kLongThreads + threadIdx.x, keys[i]);
  }
};

// In shared memory: batch by batch, each batch's in the order of columns, but the batches in any order.
struct Candidates {
  uint32_t* keys;
  uint32_t* columns;
  uint32_t count;

  template <class Visit>
  __device__ __forceinline__ void for_each(Visit visit) const {
#pragma unroll 4
    for (uint32_t i = threadIdx.x; i < count; i += kLongThreads) visit(columns[i], keys[i]);
  }
};

template <SelectRule kRule>
struct LongShared : RuleShared<kRule> {
  uint32_t candidates;
  ushort2 batches[kMostBatches];   // where each batch's candidates begin, and how many there are
  uint32_t offsets[kMostBatches];  // of each batch's columns in the list
};

template <SelectRule kRule>
struct LongRows {
  const SelectProblem& problem;
  const LongLayout& layout;
  LongShared<kRule>& shared;
  LongTeam& team;
  char* memory;                  // dynamic shared
  const uint32_t* always_words;  // of this block, in global memory; null: no column is always chosen
  uint32_t always;

  __device__ uint32_t* keys() const { return reinterpret_cast<uint32_t*>(memory + layout.keys); }
  __device__ uint32_t* columns() const { return reinterpret_cast<uint32_t*>(memory + layout.columns); }

  // A key that the cut is not below, as far as the sample tells; kNoKey if it cannot tell.
  __device__ uint32_t guess(const Row& row, const Pieces& pieces) {
    RowSums<kRule> sums(row.scores[0]);
    const Sample sample(pieces, sums);
    const float share = static_cast<float>(Sample::kSize) / static_cast<float>(row.columns);
    float expected;
    if constexpr (kRule == SelectRule::top_k) {
      expected = static_cast<float>(count_wanted<kRule>(problem, always, 0)) * share;
    } else {
      expected = static_cast<float>(count_others(problem, sample, -INFINITY, sums, shared, team).count);
      if constexpr (kRule == SelectRule::mass) expected = max(expected, static_cast<float>(problem.minimum) * share);
      expected = min(expected, static_cast<float>(problem.maximum) * share) + static_cast<float>(always) * share;
    }
    // As many deviations as make a miss rare, with pairs of neighbours taken for alike.
    const float rank = expected + 3.5f * sqrtf(2 * expected * max(0.0f, 1 - expected / Sample::kSize)) + 8;
    if (rank >= Sample::kSize || rank / share > static_cast<float>(layout.capacity)) return kNoKey;
    Bracket bracket = {range_of(sample, team), Sample::kSize, 0};
    narrow(sample, static_cast<uint32_t>(rank), static_cast<uint32_t>(0.06f * rank), bracket, shared, team);
    return bracket.range.lowest;
  }

  // Whether 4 columns are always chosen, as bits.
  __device__ __forceinline__ uint32_t always_bits(uint32_t column) const {
    const uint32_t word = always_words[column / 32];
    const uint32_t shift = column % 32;
    return (shift > 28 ? __funnelshift_r(word, always_words[column / 32 + 1], shift) : word >> shift) & 15;
  }

  // Adds a batch's candidates. Bit 4 * i + k of `taken`: score k of piece i, which is at `column` + 128 * i + k.
  template <int kPieces>
  __device__ __forceinline__ void keep(uint32_t batch, uint32_t column, const float4 (&values)[kPieces], uint32_t taken,
                                       uint32_t always_taken) {
    const int lane = team.lane();
    uint32_t counts = 0;  // of each piece, in a byte
#pragma unroll
    for (int i = 0; i < kPieces; ++i) counts |= __popc(taken >> 4 * i & 15) << 8 * i;
    uint32_t until = counts;
#pragma unroll
    for (int distance = 1; distance < kWarp; distance *= 2) {
      const uint32_t below = __shfl_up_sync(kAllLanes, until, distance);
      if (lane >= distance) until += below;
    }
    const uint32_t totals = __shfl_sync(kAllLanes, until, kWarp - 1);
    const uint32_t total = (totals & 255) + (totals >> 8 & 255) + (totals >> 16 & 255) + (totals >> 24);
    uint32_t begin = 0;
    if (lane == 0) begin = atomicAdd(&shared.candidates, total);
    begin = __shfl_sync(kAllLanes, begin, 0);
    if (begin + total > layout.capacity) return;  // found by `candidates`
    if (lane == 0) shared.batches[batch] = make_ushort2(static_cast<uint16_t>(begin), static_cast<uint16_t>(total));
    const uint32_t before = until - counts;
    uint32_t* const kept_keys = keys();
    uint32_t* const kept_columns = columns();
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      uint32_t at = begin + (before >> 8 * i & 255);
      begin += totals >> 8 * i & 255;
      const float scores[4] = {values[i].x, values[i].y, values[i].z, values[i].w};
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        if (taken >> (4 * i + k) & 1) {
          kept_keys[at] = always_taken >> (4 * i + k) & 1 ? kAlwaysKey : __float_as_uint(scores[k]);
          kept_columns[at] = column + i * kWarp * 4 + k;
          ++at;
        }
      }
    }
  }

  // Gathers the columns with scores of at least `lowest`, and the always columns. More than fit are counted only.
  __device__ Candidates collect(const Row& row, const Pieces& pieces, float lowest, RowSums<kRule>& sums) {
    if (threadIdx.x == 0) shared.candidates = 0;
    __syncthreads();
    const auto bits_of = [&](const float4& value) {
      return static_cast<uint32_t>(value.x >= lowest) | static_cast<uint32_t>(value.y >= lowest) << 1 |
             static_cast<uint32_t>(value.z >= lowest) << 2 | static_cast<uint32_t>(value.w >= lowest) << 3;
    };
    const auto add = [&](const float4& value, uint32_t always_bits) {
      sums.add(value.x, always_bits & 1);
      sums.add(value.y, always_bits & 2);
      sums.add(value.z, always_bits & 4);
      sums.add(value.w, always_bits & 8);
    };
    const uint32_t lane = team.lane();
    for (uint32_t batch = 1 + team.warp(); batch <= pieces.batches; batch += team.kWarps) {
      const uint32_t first = (batch - 1) * Pieces::kOfLane * kWarp + lane;
      float4 values[Pieces::kOfLane];
#pragma unroll
      for (int i = 0; i < Pieces::kOfLane; ++i) {
        const uint32_t piece = first + i * kWarp;
        values[i] = piece < pieces.count ? pieces.at(piece) : make_float4(NAN, NAN, NAN, NAN);
      }
      uint32_t taken = 0;
      uint32_t always_taken = 0;
#pragma unroll
      for (int i = 0; i < Pieces::kOfLane; ++i) {
        const uint32_t piece = first + i * kWarp;
        uint32_t always_here = 0;
        if (always_words && piece < pieces.count) always_here = always_bits(pieces.head + piece * 4);
        taken |= (bits_of(values[i]) | always_here) << 4 * i;
        always_taken |= always_here << 4 * i;
        add(values[i], always_here);
      }
      keep(batch, pieces.head + first * 4, values, taken, always_taken);
    }
    if (team.warp() < 2) {  // what is no whole piece
      const uint32_t column = team.warp() == 0 ? lane : pieces.rest() + lane;
      const bool exists = column < (team.warp() == 0 ? pieces.head : row.columns);
      const float4 value[1] = {make_float4(exists ? row.scores[column] : NAN, NAN, NAN, NAN)};
      const uint32_t always_here = exists && row.is_always(column);
      add(value[0], always_here);
      keep(team.warp() == 0 ? 0 : pieces.batches + 1, column, value, bits_of(value[0]) | always_here, always_here);
    }
    __syncthreads();
    const uint32_t count = shared.candidates;
    if (count <= layout.capacity) {
      for (uint32_t i = threadIdx.x; i < count; i += kLongThreads) {
        const uint32_t bits = keys()[i];
        if (bits != kAlwaysKey) keys()[i] = key_of(__uint_as_float(bits));
      }
    }
    return {keys(), columns(), count};  // each thread reads its own keys until the next barrier
  }

  // Finds the cut among the row's candidates, or says that they are not enough to tell.
  __device__ bool cut_candidates(const Row& row, Candidates& candidates, Cut& cut, uint32_t& wanted) {
    const Pieces pieces(row);
    const uint32_t lowest_key = guess(row, pieces);
    if (lowest_key <= kNanKey) return false;
    const float lowest = score_of(lowest_key);
    RowSums<kRule> sums(row.scores[0]);
    candidates = collect(row, pieces, lowest, sums);
    if (candidates.count > layout.capacity) return false;
    const Others others = count_others(problem, candidates, lowest, sums, shared, team);
    wanted = count_wanted<kRule>(problem, always, others.count);
    if (!others.certain || wanted < always || wanted > candidates.count) return false;
    cut = cut_row(problem, candidates, always, wanted, candidates.count, shared, team);
    return true;
  }

  template <class Index>
  __device__ void write_candidates(const Row& row, const Candidates& candidates, const Cut& cut, Index* list) {
    const Pieces pieces(row);
    const uint32_t batches = pieces.batches + 2;
    uint32_t* offsets = shared.offsets;
    for (uint32_t batch = threadIdx.x; batch < batches; batch += kLongThreads) offsets[batch] = 0;
    __syncthreads();
    candidates.for_each([&](uint32_t column, uint32_t key) {
      if (cut.takes(column, key)) atomicAdd(offsets + pieces.batch_of(column), 1u);
    });
    __syncthreads();
    static_assert(kMostBatches <= 2 * kLongThreads);
    const uint32_t own = 2 * threadIdx.x;
    const uint32_t first = own < batches ? offsets[own] : 0;
    const uint32_t second = own + 1 < batches ? offsets[own + 1] : 0;
    uint32_t total;
    const uint32_t before = team.sum_before(first + second, total);
    if (own < batches) offsets[own] = before;
    if (own + 1 < batches) offsets[own + 1] = before + first;
    __syncthreads();
    const uint32_t lane = team.lane();
    const uint32_t lower_lanes = (1u << lane) - 1;
    for (uint32_t batch = team.warp(); batch < batches; batch += team.kWarps) {
      const ushort2 place = shared.batches[batch];
      Index* to = list + offsets[batch];
      const uint32_t end = place.x + place.y;
      for (uint32_t i = place.x + lane; i - lane < end; i += 2 * kWarp) {
        bool taken[2];
        uint32_t column[2];
#pragma unroll
        for (int k = 0; k < 2; ++k) {
          const uint32_t at = min(i + k * kWarp, layout.capacity - 1);
          column[k] = candidates.columns[at];
          taken[k] = (i + k * kWarp < end) & cut.takes(column[k], candidates.keys[at]);
        }
#pragma unroll
        for (int k = 0; k < 2; ++k) {
          const uint32_t lanes = __ballot_sync(kAllLanes, taken[k]);
          if (taken[k]) to[__popc(lanes & lower_lanes)] = static_cast<Index>(column[k]);
          to += __popc(lanes);
        }
      }
    }
  }

  // Any row: about as many passes over it as a key has bits, and one to write the list.
  template <class Index>
  __device__ void cut_and_write(const Row& row, Index* list, uint32_t& wanted) {
    GlobalRow source{row, false};
    RowSums<kRule> sums(row.scores[0]);
    uint32_t always_here = 0;
    for (uint32_t column = threadIdx.x; column < row.columns; column += kLongThreads) {
      const bool is_always = row.is_always(column);
      sums.add(row.scores[column], is_always);
      always_here += is_always;
    }
    const uint32_t row_always = row.always ? team.sum(always_here) : 0;
    wanted = count_wanted<kRule>(problem, row_always,
                                 count_others(problem, source, -INFINITY, sums, shared, team).count);
    source.keeps_always = wanted < row_always;
    const Cut cut = source.keeps_always ? cut_row(problem, source, 0, wanted, row_always, shared, team)
                                        : cut_row(problem, source, row_always, wanted, row.columns, shared, team);
    auto* words = reinterpret_cast<uint32_t*>(memory);
    for (uint32_t first = 0; first < row.columns; first += layout.tile) {
      const uint32_t count = min(row.columns - first, layout.tile);
      for (uint32_t i = threadIdx.x; i < (count + 31) / 32 * 32; i += kLongThreads) {
        const uint32_t key = i < count ? source.key(first + i) : kNoKey;
        const uint32_t word = __ballot_sync(kAllLanes, key != kNoKey && cut.takes(first + i, key));
        if (i % 32 == 0) words[i / 32] = word;
      }
      __syncthreads();
      list += write_columns(words, (count + 31) / 32, first, list, team);
      __syncthreads();
    }
  }

  template <class Index>
  __device__ void select(const Row& row, Index* list, uint32_t& wanted) {
    Candidates candidates;
    Cut cut;
    if (problem.columns <= kMostNamed && cut_candidates(row, candidates, cut, wanted)) {
      write_candidates(row, candidates, cut, list);
    } else {
      __syncthreads();
      cut_and_write(row, list, wanted);
    }
    __syncthreads();
  }
};

template <SelectRule kRule>
__global__ __launch_bounds__(kLongThreads, 2) void select_long_rows(const SelectProblem problem,
                                                                    const LongLayout layout, uint32_t* workspace) {
  extern __shared__ __align__(16) char memory[];
  __shared__ LongShared<kRule> shared;
  LongTeam team(shared.team);
  clear<kLongThreads>(shared);
  LongRows<kRule> rows{problem, layout, shared, team, memory, nullptr, 0};
  if (problem.always && problem.columns <= kMostNamed) {
    const auto columns = static_cast<uint32_t>(problem.columns);
    uint32_t* words = workspace + blockIdx.x * always_words(problem);
    uint32_t count = 0;
    for (uint32_t column = threadIdx.x; column < (columns + 31) / 32 * 32; column += kLongThreads) {
      const bool always = column < columns && problem.always[column * problem.always_step] != 0;
      const uint32_t word = __ballot_sync(kAllLanes, always);
      if (column % 32 == 0) words[column / 32] = word;
      count += always;
    }
    rows.always = team.sum(count);  // its barrier publishes the words too
    rows.always_words = words;
  }
  const auto row_count = static_cast<uint32_t>(problem.batch * problem.lists * problem.groups);
  for (uint32_t index = blockIdx.x; index < row_count; index += gridDim.x) {
    const Row row(problem, index);
    if (row.dense) {
      if (threadIdx.x == 0) problem.counts[index] = TAMIAS_ALL_COLUMNS;
      continue;
    }
    uint32_t wanted = 0;
    if (problem.short_indices) {
      rows.select(row, static_cast<uint16_t*>(problem.indices) + row.list, wanted);
    } else {
      rows.select(row, static_cast<int32_t*>(problem.indices) + row.list, wanted);
    }
    if (threadIdx.x == 0) problem.counts[index] = static_cast<int32_t>(wanted);
  }
}

}  // namespace tamias
