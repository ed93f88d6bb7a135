// Included by mlp_avx2.cpp and mlp_avx512.cpp after their vector header.
#include "mlp_kernels.h"

#include "../common/panels.inl"

namespace tamias::TAMIAS_ISA {
namespace {

constexpr int64_t kBlockTokens = 128;     // tokens that share one gathering of weights
constexpr int64_t kTileNeurons = 192;     // of fc1, fewer where rows are long
constexpr int64_t kTileFloats = 96 * 1024;
constexpr int64_t kTileDepth = 192;       // neurons summed at once in fc2
constexpr int64_t kTileColumns = 384;     // output columns that share one packing of activations

void list_rows(const void* indices, bool short_indices, int64_t first, int64_t count, int32_t* rows) {
  if (!indices) {
    for (int64_t i = 0; i < count; ++i) rows[i] = int32_t(first + i);
  } else if (short_indices) {
    for (int64_t i = 0; i < count; ++i) rows[i] = ((const uint16_t*)indices)[first + i];
  } else {
    for (int64_t i = 0; i < count; ++i) rows[i] = ((const int32_t*)indices)[first + i];
  }
}

int64_t tile_neurons(int64_t d) {
  int64_t rows = kTileFloats / (chunks_of(d) * kChunk + 1) / kRows * kRows;
  if (rows < kRows) rows = kRows;
  return rows < kTileNeurons ? rows : kTileNeurons;
}

struct FirstSpace {
  float* x;       // [panel][d][kPanel]
  float* w;       // chunked
  float* sums;    // [kTileNeurons][kPanel]
  int32_t* rows;  // [kTileNeurons]
  int64_t floats;
};

FirstSpace lay_out_first(float* base, int64_t d) {
  int64_t used = 0;
  const auto take = [&](int64_t count) {
    float* piece = base + used;
    used += round_up(count, 16);
    return piece;
  };
  FirstSpace space;
  space.x = take(kBlockTokens * d);
  space.w = take(chunked_floats(tile_neurons(d), d));
  space.sums = take(kTileNeurons * kPanel);
  space.rows = (int32_t*)take(kTileNeurons);
  space.floats = used;
  return space;
}

int64_t fc1_scratch_floats(int64_t d) { return lay_out_first(nullptr, d).floats; }

// Places [first, first + count) of the list, tokens [token, token + kPanel) of the group: bias, activation, slab, delta.
template <int activation>
void finish_fc1(const Fc1Block& block, const int32_t* rows, int64_t first, int64_t count, int64_t token,
                  const float* sums) {
  for (int half = 0; half < 2; ++half) {
    const int64_t at = token + half * kWidth;
    if (at >= block.group) return;
    const Tail valid = tail(block.tokens > at ? block.tokens - at : 0);
    const Tail room = tail(block.group - at);
    for (int64_t i = 0; i < count; ++i) {
      const Vec before = load(sums + i * kPanel + half * kWidth) + set(block.b1 ? block.b1[rows[i]] : 0);
      const Vec now = keep(activate<activation>(before), valid);
      float* slab = block.slab + rows[i] * block.group + at;
      if (block.delta) {
        store(block.delta + (first + i) * block.group + at, now - load(slab, room), room);
      }
      store(slab, now, room);
    }
  }
}

void clear_past_tokens(const Fc1Block& block, const int32_t* rows, int64_t first, int64_t count,
                       int64_t token) {
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t t = token; t < block.group; t += kWidth) {
      const Tail room = tail(block.group - t);
      store(block.slab + rows[i] * block.group + t, zero(), room);
      if (block.delta) store(block.delta + (first + i) * block.group + t, zero(), room);
    }
  }
}

void fc1(const Fc1Block& block, float* scratch) {
  const FirstSpace space = lay_out_first(scratch, block.d);
  const int64_t tile = tile_neurons(block.d);
  for (int64_t from = 0; from < block.tokens; from += kBlockTokens) {
    const int64_t tokens = block.tokens - from < kBlockTokens ? block.tokens - from : kBlockTokens;
    const int64_t panels = (tokens + kPanel - 1) / kPanel;
    const bool last = from + tokens == block.tokens;
    for (int64_t panel = 0; panel < panels; ++panel) {
      const int64_t token = panel * kPanel;
      const int64_t count = tokens - token < kPanel ? tokens - token : kPanel;
      pack_transposed(block.x + (from + token) * block.x_stride, block.x_stride, count, block.d, 1,
                      space.x + token * block.d);
    }
    for (int64_t first = block.begin; first < block.end; first += tile) {
      const int64_t count = block.end - first < tile ? block.end - first : tile;
      list_rows(block.indices, block.short_indices, first, count, space.rows);
      pack_chunked(block.w1, space.rows, count, block.d, space.w);
      for (int64_t panel = 0; panel < panels; ++panel) {
        const int64_t token = panel * kPanel;
        if (block.d == 0) {
          for (int64_t i = 0; i < count * kPanel; i += kWidth) store(space.sums + i, zero());
        }
        dot_tile(space.w, count, block.d, space.x + token * block.d, space.sums);
        with_activation(block.activation, [&](auto constant) {
          finish_fc1<decltype(constant)::kValue>(block, space.rows, first, count, from + token, space.sums);
        });
        if (block.means) {  // columns of missing tokens are 0 before the bias
          for (int64_t i = 0; i < count; ++i) {
            const float part = sum(load(space.sums + i * kPanel) + load(space.sums + i * kPanel + kWidth));
            float* mean = block.means + space.rows[i];
            *mean = from + token == 0 ? part : *mean + part;
          }
        }
      }
      if (!last) continue;
      clear_past_tokens(block, space.rows, first, count, from + panels * kPanel);
      if (block.means) {
        for (int64_t i = 0; i < count; ++i) {
          float* mean = block.means + space.rows[i];
          *mean = *mean / float(block.tokens) + (block.b1 ? block.b1[space.rows[i]] : 0);
        }
      }
    }
  }
}

struct SecondSpace {
  float* a;       // strips
  float* w;       // panels
  float* tile;    // [kBlockTokens + kRows][kPanel]
  int32_t* rows;  // [kTileDepth]
  int64_t floats;
};

SecondSpace lay_out_second(float* base) {
  int64_t used = 0;
  const auto take = [&](int64_t count) {
    float* piece = base + used;
    used += round_up(count, 16);
    return piece;
  };
  SecondSpace space;
  space.a = take(strip_floats(kTileDepth, kBlockTokens));
  space.w = take(kTileDepth * kTileColumns);
  space.tile = take(kBlockTokens * kPanel);
  space.rows = (int32_t*)take(kTileDepth);
  space.floats = used;
  return space;
}

int64_t fc2_scratch_floats() { return lay_out_second(nullptr).floats; }

void start_rows(const Fc2Block& block) {
  for (int64_t t = 0; t < block.tokens; ++t) {
    float* out = block.out + t * block.out_stride;
    for (int64_t n = block.begin; n < block.end; n += kWidth) {
      const Tail room = tail(block.end - n);
      store(out + n, block.b2 ? load(block.b2 + n, room) : zero(), room);
    }
  }
}

// The last, narrow panel goes through a tile of its own.
void add_narrow(const SecondSpace& space, int64_t tokens, int64_t depth, const float* w, int64_t columns, float* out,
                int64_t stride) {
  const Tail low = tail(columns);
  const Tail high = tail(columns > kWidth ? columns - kWidth : 0);
  for (int64_t t = 0; t < tokens; ++t) {
    store(space.tile + t * kPanel, load(out + t * stride, low));
    store(space.tile + t * kPanel + kWidth, load(out + t * stride + kWidth, high));
  }
  outer_tile<Sum::add>(space.a, kTileDepth, tokens, depth, w, nullptr, space.tile, kPanel);
  for (int64_t t = 0; t < tokens; ++t) {
    store(out + t * stride, load(space.tile + t * kPanel), low);
    if (columns > kWidth) store(out + t * stride + kWidth, load(space.tile + t * kPanel + kWidth), high);
  }
}

void fc2(const Fc2Block& block, float* scratch) {
  const SecondSpace space = lay_out_second(scratch);
  if (block.start) start_rows(block);
  for (int64_t from = 0; from < block.tokens; from += kBlockTokens) {
    const int64_t tokens = block.tokens - from < kBlockTokens ? block.tokens - from : kBlockTokens;
    for (int64_t column = block.begin; column < block.end; column += kTileColumns) {
      const int64_t columns = block.end - column < kTileColumns ? block.end - column : kTileColumns;
      for (int64_t first = 0; first < block.count; first += kTileDepth) {
        const int64_t depth = block.count - first < kTileDepth ? block.count - first : kTileDepth;
        list_rows(nullptr, false, 0, depth, space.rows);
        pack_strips({block.activations + first * block.group, 0, block.group}, space.rows, depth, from, tokens,
                    kTileDepth, space.a);
        list_rows(block.indices, block.short_indices, first, depth, space.rows);
        pack_panels(block.w2t, space.rows, depth, column, columns, kTileDepth, space.w);
        for (int64_t n = 0; n < columns; n += kPanel) {
          const float* w = space.w + n * kTileDepth;
          float* out = block.out + from * block.out_stride + column + n;
          if (columns - n >= kPanel) {
            outer_tile<Sum::add>(space.a, kTileDepth, tokens, depth, w, nullptr, out, block.out_stride);
          } else {
            add_narrow(space, tokens, depth, w, columns - n, out, block.out_stride);
          }
        }
      }
    }
  }
}

}  // namespace

const MlpKernels mlp_kernels = {kPanel, kRows, fc1_scratch_floats, fc2_scratch_floats, fc1, fc2};

}  // namespace tamias::TAMIAS_ISA
