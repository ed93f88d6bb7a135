// Register-blocked products over packed panels, for attention and the MLP; included by *_kernels.inl files after their
// vector header. One side of a product is broadcast, kRows at a time, the other is read in panels of two vectors:
//
//   dot_tile:    c[i][j]  = sum over d of a[i][d] b[d][j]    a: gathered rows as they are, in chunks of kChunk columns
//   outer_tile:  c[i][j] += sum over k of a[k][i] b[k][j]    a: gathered rows, cut into strips of kRows columns
//
// c[i][j] depends on row i, column j and the length of the sum alone, never on how work was split over threads.
#include "panels.h"

namespace tamias::TAMIAS_ISA {
namespace {

constexpr int kPanel = 2 * kWidth;
constexpr int kRows = kWidth == 16 ? 12 : 6;  // kRows * 2 accumulators fill the registers
constexpr int kChunk = 128;                   // a power of two known at compile time: rows become address offsets

constexpr int64_t round_up(int64_t count, int64_t to) { return (count + to - 1) / to * to; }
constexpr int64_t chunks_of(int64_t depth) { return (depth + kChunk - 1) / kChunk; }

// Floats of `rows` gathered rows in each packed form. A strip's stores run over by a vector, hence the slack.
constexpr int64_t chunked_floats(int64_t rows, int64_t depth) {
  return chunks_of(depth) * round_up(rows, kRows) * kChunk;
}
constexpr int64_t strip_stride(int64_t rows) { return round_up(rows * kRows + kWidth, 16); }
constexpr int64_t strip_floats(int64_t rows, int64_t columns) {
  return (columns + kRows - 1) / kRows * strip_stride(rows);
}

// ---- packing

template <int dtype>
TAMIAS_INLINE Vec load_as(const void* data, int64_t at) {
  if constexpr (dtype == 0) return load((const float*)data + at);
  if constexpr (dtype == 1) return load_bf16((const uint16_t*)data + at);
  return load_f16((const uint16_t*)data + at);
}
template <int dtype>
TAMIAS_INLINE Vec load_as(const void* data, int64_t at, Tail t) {
  if constexpr (dtype == 0) return load((const float*)data + at, t);
  if constexpr (dtype == 1) return load_bf16((const uint16_t*)data + at, t);
  return load_f16((const uint16_t*)data + at, t);
}

template <class Body>
TAMIAS_INLINE void with_dtype(int32_t dtype, Body body) {
  switch (dtype) {
    case 1: return body(Constant<1>{});
    case 2: return body(Constant<2>{});
    default: return body(Constant<0>{});
  }
}

// Gathered rows come from far away: ask for one a few rows ahead.
constexpr int kAhead = 6;
template <int dtype>
TAMIAS_INLINE void prefetch_row(const RowSource& source, const int32_t* rows, int64_t r, int64_t count, int64_t first,
                                int64_t columns) {
  if (r + kAhead >= count) return;
  constexpr int64_t size = dtype == 0 ? 4 : 2;
  const char* row = (const char*)source.data + (rows[r + kAhead] * source.stride + first) * size;
  for (int64_t byte = 0; byte < columns * size; byte += 64) __builtin_prefetch(row + byte);
}

// out[chunk][row][kChunk]; rows up to a multiple of kRows are 0.
[[maybe_unused]] static void pack_chunked(const RowSource& source, const int32_t* rows, int64_t count, int64_t depth, float* out) {
  const int64_t padded = round_up(count, kRows);
  with_dtype(source.dtype, [&](auto constant) {
    constexpr int dtype = decltype(constant)::kValue;
    for (int64_t r = 0; r < count; ++r) {
      prefetch_row<dtype>(source, rows, r, count, 0, depth);
      const int64_t row = rows[r] * source.stride;
      for (int64_t first = 0; first < depth; first += kChunk) {
        const int64_t columns = depth - first < kChunk ? depth - first : kChunk;
        float* to = out + (first / kChunk * padded + r) * kChunk;
        int64_t c = 0;
        for (; c + kWidth <= columns; c += kWidth) store(to + c, load_as<dtype>(source.data, row + first + c));
        if (c < columns) store(to + c, load_as<dtype>(source.data, row + first + c, tail(columns - c)));
      }
    }
  });
  for (int64_t first = 0; first < depth; first += kChunk) {
    float* pad = out + (first / kChunk * padded + count) * kChunk;
    for (int64_t c = 0; c < (padded - count) * kChunk; c += kWidth) store(pad + c, zero());
  }
}

// Columns [first, first + columns) of the rows: out[column / kRows][row][kRows], strips strip_stride(capacity) apart.
[[maybe_unused]] static void pack_strips(const RowSource& source, const int32_t* rows, int64_t count, int64_t first, int64_t columns,
                        int64_t capacity, float* out) {
  const int64_t stride = strip_stride(capacity);
  with_dtype(source.dtype, [&](auto constant) {
    constexpr int dtype = decltype(constant)::kValue;
    for (int64_t r = 0; r < count; ++r) {
      prefetch_row<dtype>(source, rows, r, count, first, columns);
      const int64_t row = rows[r] * source.stride + first;
      float* to = out + r * kRows;
      int64_t c = 0;
      for (; c + kWidth <= columns; c += kRows, to += stride) store(to, load_as<dtype>(source.data, row + c));
      for (; c < columns; c += kRows, to += stride) {
        store(to, load_as<dtype>(source.data, row + c, tail(columns - c)));
      }
    }
  });
}

// Columns [first, first + columns) of the rows: out[column / kPanel][row][kPanel], panels capacity * kPanel apart.
[[maybe_unused]] static void pack_panels(const RowSource& source, const int32_t* rows, int64_t count, int64_t first, int64_t columns,
                        int64_t capacity, float* out) {
  with_dtype(source.dtype, [&](auto constant) {
    constexpr int dtype = decltype(constant)::kValue;
    for (int64_t r = 0; r < count; ++r) {
      prefetch_row<dtype>(source, rows, r, count, first, columns);
      const int64_t row = rows[r] * source.stride + first;
      float* to = out + r * kPanel;
      int64_t c = 0;
      for (; c + kPanel <= columns; c += kPanel, to += capacity * kPanel) {
        store(to, load_as<dtype>(source.data, row + c));
        store(to + kWidth, load_as<dtype>(source.data, row + c + kWidth));
      }
      if (c < columns) {
        const int64_t rest = columns - c;
        store(to, load_as<dtype>(source.data, row + c, tail(rest)));
        store(to + kWidth, rest > kWidth ? load_as<dtype>(source.data, row + c + kWidth, tail(rest - kWidth)) : zero());
      }
    }
  });
}

// Each round interleaves the upper with the lower half of the rows, which rotates the bits of an element's address.
TAMIAS_INLINE void transpose(Vec (&square)[kWidth]) {
  Vec other[kWidth];
#pragma GCC unroll 4
  for (int round = 0; round < (kWidth == 16 ? 4 : 3); ++round) {
#pragma GCC unroll 8
    for (int i = 0; i < kWidth / 2; ++i) {
      join_pairs(square[i], square[i + kWidth / 2], other[2 * i], other[2 * i + 1]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kWidth; ++i) square[i] = other[i];
  }
}

// out[d][kPanel] = factor * in[row][d] for up to kPanel rows; columns of missing rows are 0.
[[maybe_unused]] static void pack_transposed(const float* in, int64_t stride, int64_t rows, int64_t depth, float factor, float* out) {
  const Vec scale = set(factor);
  for (int64_t half = 0; half < kPanel; half += kWidth) {
    for (int64_t d = 0; d < depth; d += kWidth) {
      const int64_t columns = depth - d < kWidth ? depth - d : kWidth;
      const Tail t = tail(columns);
      Vec square[kWidth];
#pragma GCC unroll 16
      for (int i = 0; i < kWidth; ++i) {
        square[i] = half + i < rows ? load(in + (half + i) * stride + d, t) * scale : zero();
      }
      transpose(square);
      if (columns == kWidth) {
#pragma GCC unroll 16
        for (int i = 0; i < kWidth; ++i) store(out + (d + i) * kPanel + half, square[i]);
      } else {
        alignas(64) float lanes[kWidth][kWidth];
#pragma GCC unroll 16
        for (int i = 0; i < kWidth; ++i) store(lanes[i], square[i]);
        for (int64_t i = 0; i < columns; ++i) store(out + (d + i) * kPanel + half, load(lanes[i]));
      }
    }
  }
}

// ---- products

TAMIAS_INLINE void dot_rows(const float* a, const float* b, int64_t depth, bool add, float* c) {
  Vec low[kRows], high[kRows];
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) low[i] = high[i] = zero();
  if (add) {
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      low[i] = load(c + i * kPanel);
      high[i] = load(c + i * kPanel + kWidth);
    }
  }
  for (int64_t d = 0; d < depth; ++d) {
    const Vec b0 = load(b + d * kPanel);
    const Vec b1 = load(b + d * kPanel + kWidth);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const Vec x = set(a[i * kChunk + d]);
      low[i] = fma(x, b0, low[i]);
      high[i] = fma(x, b1, high[i]);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < kRows; ++i) {
    store(c + i * kPanel, low[i]);
    store(c + i * kPanel + kWidth, high[i]);
  }
}

// a: as pack_chunked left `count` rows; b: [depth][kPanel]; c: [count rounded up to kRows][kPanel].
[[maybe_unused]] static void dot_tile(const float* a, int64_t count, int64_t depth, const float* b, float* c) {
  const int64_t padded = round_up(count, kRows);
  for (int64_t first = 0; first < depth; first += kChunk) {
    const int64_t columns = depth - first < kChunk ? depth - first : kChunk;
    for (int64_t r = 0; r < padded; r += kRows) {
      dot_rows(a + r * kChunk, b + first * kPanel, columns, first > 0, c + r * kPanel);
    }
    a += padded * kChunk;
  }
}

// How outer_rows treats what c holds.
enum class Sum { replace, add, scale_and_add };

template <int rows, Sum sum>
static void outer_rows(const float* a, const float* b, int64_t depth, const float* scale, float* c, int64_t stride) {
  Vec low[rows], high[rows];
  if constexpr (sum == Sum::replace) {
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) low[i] = high[i] = zero();
  } else {
    const Vec s0 = sum == Sum::add ? set(1) : load(scale);
    const Vec s1 = sum == Sum::add ? set(1) : load(scale + kWidth);
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) {
      low[i] = load(c + i * stride);
      high[i] = load(c + i * stride + kWidth);
      if constexpr (sum == Sum::scale_and_add) {
        low[i] = low[i] * s0;
        high[i] = high[i] * s1;
      }
    }
  }
  for (int64_t k = 0; k < depth; ++k) {
    const Vec b0 = load(b + k * kPanel);
    const Vec b1 = load(b + k * kPanel + kWidth);
#pragma GCC unroll 16
    for (int i = 0; i < rows; ++i) {
      const Vec x = set(a[k * kRows + i]);
      low[i] = fma(x, b0, low[i]);
      high[i] = fma(x, b1, high[i]);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < rows; ++i) {
    store(c + i * stride, low[i]);
    store(c + i * stride + kWidth, high[i]);
  }
}

using OuterRows = void (*)(const float*, const float*, int64_t, const float*, float*, int64_t);

template <Sum sum>
static OuterRows outer_rows_of(int64_t rows) {
  switch (rows) {
    case 1: return outer_rows<1, sum>;
    case 2: return outer_rows<2, sum>;
    case 3: return outer_rows<3, sum>;
    case 4: return outer_rows<4, sum>;
    case 5: return outer_rows<5, sum>;
    default: break;
  }
  if constexpr (kRows == 6) {
    return outer_rows<6, sum>;
  } else {
    switch (rows) {
      case 6: return outer_rows<6, sum>;
      case 7: return outer_rows<7, sum>;
      case 8: return outer_rows<8, sum>;
      case 9: return outer_rows<9, sum>;
      case 10: return outer_rows<10, sum>;
      case 11: return outer_rows<11, sum>;
      default: return outer_rows<12, sum>;
    }
  }
}

// a: strips of `rows` columns, packed with `capacity`; b: [depth][kPanel]; c: [rows][kPanel], rows `stride` apart.
template <Sum sum>
[[maybe_unused]] static void outer_tile(const float* a, int64_t capacity, int64_t rows, int64_t depth, const float* b,
                       const float* scale, float* c, int64_t stride) {
  for (int64_t r = 0; r < rows; r += kRows) {
    const int64_t count = rows - r < kRows ? rows - r : kRows;
    outer_rows_of<sum>(count)(a + r / kRows * strip_stride(capacity), b, depth, scale, c + r * stride, stride);
  }
}

}  // namespace
}  // namespace tamias::TAMIAS_ISA
