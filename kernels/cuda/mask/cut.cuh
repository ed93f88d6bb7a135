// The end of a selection, found digit by digit from the highest (radix selection), by a block of threads.
//
// A source is a row, or what matters of it: for_each(visit) calls visit(column, key, always) for this thread's share.
#pragma once

#include <cstdint>

#include "block_sums.cuh"
#include "ordered_score.cuh"

namespace tamias {

constexpr int kDigitBits = 11;
constexpr int kBins = 1 << kDigitBits;

// Takes the columns of better scores, and those of this score up to `column`.
struct Cut {
  uint32_t key;
  uint32_t column;

  __device__ bool takes(uint32_t other_key, uint32_t other_column) const {
    return other_key > key || (other_key == key && other_column <= column);
  }
};

__device__ constexpr Cut cut_before_all() { return {0xffffffffu, 0}; }  // no score has this key
__device__ constexpr Cut cut_after_all() { return {0, kLastColumn}; }

// A bin of a histogram, the best first.
struct Bin {
  uint32_t index;
  uint32_t before;  // how many are in the bins before it
  uint32_t count;
};

struct CutShared {
  uint32_t counts[kBins];  // all 0 between passes
  BlockSums sums;
  Bin bin;
};

template <int kThreads>
__device__ void clear_counts(CutShared& shared) {
  for (int i = threadIdx.x; i < kBins; i += kThreads) shared.counts[i] = 0;
  __syncthreads();
}

// Counts the source's members by bin_of(column, key), where that is not negative, and gives the bin that holds number
// `need` >= 1.
template <int kThreads, class Source, class BinOf>
__device__ __forceinline__ Bin find_bin(const Source& source, bool always, uint32_t need, CutShared& shared,
                                        BinOf bin_of) {
  source.for_each([&](uint32_t column, uint32_t key, bool is_always) {
    if (is_always != always) return;
    const int bin = bin_of(column, key);
    if (bin >= 0) atomicAdd(&shared.counts[bin], 1u);
  });
  __syncthreads();
  constexpr int kOwn = kBins / kThreads;
  uint32_t own[kOwn];
  uint32_t sum = 0;
#pragma unroll
  for (int i = 0; i < kOwn; ++i) {
    own[i] = shared.counts[threadIdx.x * kOwn + i];
    shared.counts[threadIdx.x * kOwn + i] = 0;
    sum += own[i];
  }
  uint32_t total;
  uint32_t before = sum_before<kThreads>(sum, shared.sums, total);
  if (before < need && need <= before + sum) {
#pragma unroll
    for (int i = 0; i < kOwn; ++i) {
      if (before < need && need <= before + own[i]) shared.bin = {threadIdx.x * kOwn + i, before, own[i]};
      before += own[i];
    }
  }
  __syncthreads();
  return shared.bin;
}

// The cut that takes `need` of the members whose always flag is `always`; there must be as many, and need >= 1.
// `precise`: otherwise it may take a few more, of scores that agree in their first 22 bits.
template <int kThreads, class Source>
__device__ Cut find_cut(const Source& source, bool always, uint32_t need, CutShared& shared, bool precise = true) {
  uint32_t prefix = 0;
  uint32_t prefix_mask = 0;
  for (int end = 32; end > 0;) {
    const int bits = end < kDigitBits ? end : kDigitBits;
    const int shift = end - bits;
    const uint32_t digits = (1u << bits) - 1;
    const Bin bin = find_bin<kThreads>(source, always, need, shared, [=](uint32_t, uint32_t key) {
      return (key & prefix_mask) == prefix ? static_cast<int>(digits - (key >> shift & digits)) : -1;
    });
    need -= bin.before;
    prefix |= (digits - bin.index) << shift;
    prefix_mask |= digits << shift;
    end = shift;
    if (bin.count == need || (!precise && end < 32 - kDigitBits)) return {prefix, kLastColumn};
  }
  const uint32_t key = prefix;
  prefix = 0;
  prefix_mask = 0;
  for (int end = kColumnBits; end > 0;) {
    const int bits = end < kDigitBits ? end : kDigitBits;
    const int shift = end - bits;
    const uint32_t digits = (1u << bits) - 1;
    const Bin bin = find_bin<kThreads>(source, always, need, shared, [=](uint32_t column, uint32_t other_key) {
      return other_key == key && (column & prefix_mask) == prefix ? static_cast<int>(column >> shift & digits) : -1;
    });
    need -= bin.before;
    prefix |= bin.index << shift;
    prefix_mask |= digits << shift;
    end = shift;
    if (bin.count == need) return {key, prefix | ((1u << shift) - 1)};
  }
  return {key, prefix};
}

}  // namespace tamias
