// Included by attention_avx2.cpp and attention_avx512.cpp after their vector header.
//
// Scores are kept transposed, [keys][queries]: the softmax runs down the lanes without a horizontal step, keys and
// values are broadcast as they lie, and only queries and results are transposed. A tile of keys is packed once and used
// by all panels of queries; the scores of one panel and one tile never leave the cache. Logits are in units of log2.
#include "attention_kernels.h"

#include "../common/panels.inl"

namespace tamias::TAMIAS_ISA {
namespace {

constexpr int64_t kTileKeys = 192;
constexpr int64_t kPanels = kBlockQueries / kPanel;
constexpr float kLog2E = 1.44269504f;
constexpr double kLn2 = 0.693147180559945309;

// 2^x to a relative error of 1e-7; 0 for -infinity, bounded above, NaN stays NaN.
TAMIAS_INLINE Vec exp2_bounded(Vec x) {
  x = max(set(-200.0f), min(set(127.0f), x));
  const Vec power = round(x);
  const Vec r = x - power;
  Vec p = set(1.3276471993e-3f);
  p = fma(p, r, set(9.6755413345e-3f));
  p = fma(p, r, set(5.5507132735e-2f));
  p = fma(p, r, set(2.4022119724e-1f));
  p = fma(p, r, set(6.9314696707e-1f));
  p = fma(p, r, set(1.0000000717f));
  return scale_by_power_of_2(p, power);
}

float minus_infinity() { return -__builtin_inff(); }

struct Space {
  float* q;           // [panel][headDim][kPanel]
  float* o;           // [panel][headDim][kPanel]
  float* k;           // chunked
  float* v;           // strips
  float* scores;      // [kTileKeys][kPanel]
  float* sums;        // [kTileKeys][kWidth]
  float* maximum;     // [kBlockQueries]
  float* denominator; // [kBlockQueries]
  float* lse;         // [kBlockQueries] of the column sums, in log2
  float* rescale;     // [kPanel]
  float* own;         // [kBlockQueries]: L_S or the merged log-sum-exp
  float* weight;      // [kBlockQueries]: of the accumulated sum in the result
  float* cache_weight;// [kBlockQueries]
  int32_t* rows;      // [kTileKeys]
  int64_t floats;
};

Space lay_out(float* base, int64_t head_dim) {
  int64_t used = 0;
  const auto take = [&](int64_t count) {
    float* piece = base + used;
    used += round_up(count, 16);
    return piece;
  };
  Space space;
  space.q = take(kBlockQueries * head_dim);
  space.o = take(kBlockQueries * head_dim);
  space.k = take(chunked_floats(kTileKeys, head_dim));
  space.v = take(strip_floats(kTileKeys, head_dim));
  space.scores = take(kTileKeys * kPanel);
  space.sums = take(kTileKeys * kWidth);
  space.maximum = take(kBlockQueries);
  space.denominator = take(kBlockQueries);
  space.lse = take(kBlockQueries);
  space.rescale = take(kPanel);
  space.own = take(kBlockQueries);
  space.weight = take(kBlockQueries);
  space.cache_weight = take(kBlockQueries);
  space.rows = (int32_t*)take(kTileKeys);
  space.floats = used;
  return space;
}

int64_t scratch_floats(int64_t head_dim) { return lay_out(nullptr, head_dim).floats; }

void list_rows(const AttentionBlock& block, int64_t first, int64_t count, int32_t* rows) {
  if (!block.indices) {
    for (int64_t i = 0; i < count; ++i) rows[i] = int32_t(first + i);
  } else if (block.short_indices) {
    for (int64_t i = 0; i < count; ++i) rows[i] = ((const uint16_t*)block.indices)[first + i];
  } else {
    for (int64_t i = 0; i < count; ++i) rows[i] = ((const int32_t*)block.indices)[first + i];
  }
}

void add_bias(const AttentionBlock& block, int64_t query, int64_t queries, int64_t key, int64_t count, float* scores) {
  for (int64_t j = 0; j < queries; ++j) {
    const float* row = block.bias + (query + j) * block.bias_query_stride + key * block.bias_key_stride;
    for (int64_t i = 0; i < count; ++i) scores[i * kPanel + j] += row[i * block.bias_key_stride] * kLog2E;
  }
}

// Keys after the query's own position.
void mask_future(int64_t position, int64_t key, int64_t count, float* scores) {
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t j = 0; j < kPanel && position + j < key + i; ++j) scores[i * kPanel + j] = minus_infinity();
  }
}

// scores become exp(score - maximum); the running maximum and denominator are brought up to date, and `rescale` is what
// the accumulated results must be multiplied by.
void softmax_tile(int64_t count, float* scores, float* maximum, float* denominator, float* rescale) {
  Vec top[2][4];
  for (int half = 0; half < 2; ++half) {
    top[half][0] = load(maximum + half * kWidth);
    for (int i = 1; i < 4; ++i) top[half][i] = top[half][0];
  }
  int64_t row = 0;
  for (; row + 4 <= count; row += 4) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) {
      top[0][i] = max(top[0][i], load(scores + (row + i) * kPanel));
      top[1][i] = max(top[1][i], load(scores + (row + i) * kPanel + kWidth));
    }
  }
  for (; row < count; ++row) {
    top[0][0] = max(top[0][0], load(scores + row * kPanel));
    top[1][0] = max(top[1][0], load(scores + row * kPanel + kWidth));
  }
  Vec shift[2], total[2];
  for (int half = 0; half < 2; ++half) {
    const Vec highest = max(max(top[half][0], top[half][1]), max(top[half][2], top[half][3]));
    // Where all is masked so far, -infinity must not be subtracted from itself.
    shift[half] = select(less(set(minus_infinity()), highest), highest, zero());
    const Vec factor = exp2_bounded(load(maximum + half * kWidth) - shift[half]);
    store(rescale + half * kWidth, factor);
    store(maximum + half * kWidth, highest);

    total[half] = load(denominator + half * kWidth) * factor;
  }
  Vec part[2] = {zero(), zero()};
  for (row = 0; row + 2 <= count; row += 2) {
    float* at = scores + row * kPanel;
    const Vec a = exp2_bounded(load(at) - shift[0]);
    const Vec b = exp2_bounded(load(at + kWidth) - shift[1]);
    const Vec c = exp2_bounded(load(at + kPanel) - shift[0]);
    const Vec d = exp2_bounded(load(at + kPanel + kWidth) - shift[1]);
    store(at, a);
    store(at + kWidth, b);
    store(at + kPanel, c);
    store(at + kPanel + kWidth, d);
    part[0] = part[0] + (a + c);
    part[1] = part[1] + (b + d);
  }
  for (; row < count; ++row) {
    float* at = scores + row * kPanel;
    const Vec a = exp2_bounded(load(at) - shift[0]);
    const Vec b = exp2_bounded(load(at + kWidth) - shift[1]);
    store(at, a);
    store(at + kWidth, b);
    part[0] = part[0] + a;
    part[1] = part[1] + b;
  }
  store(denominator, total[0] + part[0]);
  store(denominator + kWidth, total[1] + part[1]);
}

// What the softmax of a tile, relative to `maximum`, adds to the column sums, relative to `lse`. Lanes of missing
// queries must have weight 0.
void add_to_sums(const float* weights, int64_t count, Vec low, Vec high, float* sums) {
  for (int64_t i = 0; i < count; ++i) {
    const Vec sum = fma(load(weights + i * kPanel), low, load(sums + i * kWidth));
    store(sums + i * kWidth, fma(load(weights + i * kPanel + kWidth), high, sum));
  }
}

void clear(float* data, int64_t count) {
  for (int64_t i = 0; i < count; i += kWidth) store(data + i, zero());
}

// The lanes of a panel that hold queries.
TAMIAS_INLINE Tail lanes(const AttentionBlock& block, int64_t panel, int half) {
  const int64_t left = block.queries - panel * kPanel - half * kWidth;
  return tail(left > 0 ? left : 0);
}

void flush_sums(const float* sums, int64_t count, float* out) {
  for (int64_t i = 0; i < count; ++i) out[i] += sum(load(sums + i * kWidth));
}

// exp(logit - lse) of this block, from the queries and keys again.
void sum_columns_again(const AttentionBlock& block, const Space& space, int64_t panels) {
  for (int64_t first = 0; first < block.keys; first += kTileKeys) {
    const int64_t count = block.keys - first < kTileKeys ? block.keys - first : kTileKeys;
    list_rows(block, first, count, space.rows);
    pack_chunked(block.k, space.rows, count, block.head_dim, space.k);
    clear(space.sums, count * kWidth);
    for (int64_t panel = 0; panel < panels; ++panel) {
      dot_tile(space.k, count, block.head_dim, space.q + panel * kPanel * block.head_dim, space.scores);
      const Vec low = load(space.lse + panel * kPanel);
      const Vec high = load(space.lse + panel * kPanel + kWidth);
      const Tail low_lanes = lanes(block, panel, 0);
      const Tail high_lanes = lanes(block, panel, 1);
      for (int64_t i = 0; i < count; ++i) {
        const float* at = space.scores + i * kPanel;
        const Vec a = keep(exp2_bounded(load(at) - low), low_lanes);
        const Vec b = keep(exp2_bounded(load(at + kWidth) - high), high_lanes);
        store(space.sums + i * kWidth, load(space.sums + i * kWidth) + (a + b));
      }
    }
    flush_sums(space.sums, count, block.column_sums + first);
  }
}

// The scalars of each query: its log-sum-exp, and the weights of the accumulated sum and of the cache in the result.
void weigh_queries(const AttentionBlock& block, const Space& space) {
  for (int64_t i = 0; i < block.queries; ++i) {
    const double denominator = space.denominator[i];
    const bool none = denominator == 0;
    const double chosen = none ? -__builtin_inf() : (space.maximum[i] + __builtin_log2(denominator)) * kLn2;
    double lse = chosen;
    double weight = none ? 0 : 1 / denominator;
    double cache_weight = 0;
    if (block.rule == 1) {
      weight *= block.beta;
      cache_weight = 1;
    } else if (block.rule == 2) {
      const double rest = block.cache_lse[i * block.cache_lse_stride];
      const double most = chosen < rest ? rest : chosen;
      if (most == -__builtin_inf()) {
        weight = 0;
      } else {
        const double share = __builtin_exp(chosen - most);
        const double rest_share = __builtin_exp(rest - most);
        weight *= share / (share + rest_share);
        cache_weight = rest_share / (share + rest_share);
        lse = most + __builtin_log(share + rest_share);
      }
    }
    space.own[i] = float(lse);
    space.weight[i] = float(weight);
    space.cache_weight[i] = float(cache_weight);
  }
}

void write_results(const AttentionBlock& block, const Space& space) {
  for (int64_t i = 0; i < block.queries; i += kWidth) {
    const int64_t queries = block.queries - i < kWidth ? block.queries - i : kWidth;
    const float* from = space.o + i / kPanel * kPanel * block.head_dim + i % kPanel;
    for (int64_t d = 0; d < block.head_dim; d += kWidth) {
      const Tail t = tail(block.head_dim - d);
      Vec square[kWidth];
#pragma GCC unroll 16
      for (int j = 0; j < kWidth; ++j) {
        square[j] = d + j < block.head_dim ? load(from + (d + j) * kPanel) : zero();
      }
      transpose(square);
      alignas(64) float rows[kWidth][kWidth];
#pragma GCC unroll 16
      for (int j = 0; j < kWidth; ++j) store(rows[j], square[j]);
      for (int64_t j = 0; j < queries; ++j) {
        Vec result = load(rows[j]) * set(space.weight[i + j]);
        const float cached = space.cache_weight[i + j];
        if (cached != 0) result = fma(set(cached), load(block.cache + (i + j) * block.cache_stride + d, t), result);
        store(block.out + (i + j) * block.out_stride + d, result, t);
      }
    }
  }
}

void attend(const AttentionBlock& block, float* scratch) {
  const Space space = lay_out(scratch, block.head_dim);
  const int64_t d = block.head_dim;
  const int64_t panels = (block.queries + kPanel - 1) / kPanel;
  for (int64_t panel = 0; panel < panels; ++panel) {
    const int64_t first = panel * kPanel;
    const int64_t queries = block.queries - first < kPanel ? block.queries - first : kPanel;
    pack_transposed(block.q + first * block.q_stride, block.q_stride, queries, d, block.scale * kLog2E,
                    space.q + first * d);
  }
  for (int64_t i = 0; i < panels * kPanel; ++i) {
    space.maximum[i] = minus_infinity();
    space.denominator[i] = 0;
    space.lse[i] = 0;
  }
  const bool sums_at_once = block.column_sums && block.previous_lse;
  if (sums_at_once) {
    for (int64_t i = 0; i < block.queries; ++i) {
      space.lse[i] = block.previous_lse[i * block.previous_lse_stride] * kLog2E;
    }
  }

  int64_t keys = block.keys;
  if (block.causal_from >= 0 && keys > block.causal_from + block.queries) keys = block.causal_from + block.queries;
  if (keys == 0) clear(space.o, panels * kPanel * d);
  for (int64_t first = 0; first < keys; first += kTileKeys) {
    const int64_t count = keys - first < kTileKeys ? keys - first : kTileKeys;
    list_rows(block, first, count, space.rows);
    pack_chunked(block.k, space.rows, count, d, space.k);
    pack_strips(block.v, space.rows, count, 0, d, kTileKeys, space.v);
    if (sums_at_once) clear(space.sums, count * kWidth);
    for (int64_t panel = 0; panel < panels; ++panel) {
      const int64_t query = panel * kPanel;
      dot_tile(space.k, count, d, space.q + query * d, space.scores);
      if (block.bias) {
        const int64_t queries = block.queries - query < kPanel ? block.queries - query : kPanel;
        add_bias(block, query, queries, first, count, space.scores);
      }
      if (block.causal_from >= 0) mask_future(block.causal_from + query, first, count, space.scores);
      softmax_tile(count, space.scores, space.maximum + query, space.denominator + query, space.rescale);
      if (sums_at_once) {
        const float* highest = space.maximum + query;
        const Vec low = keep(exp2_bounded(load(highest) - load(space.lse + query)), lanes(block, panel, 0));
        const Vec high =
            keep(exp2_bounded(load(highest + kWidth) - load(space.lse + query + kWidth)), lanes(block, panel, 1));
        add_to_sums(space.scores, count, low, high, space.sums);
      }
      float* o = space.o + query * d;
      if (first == 0) {
        outer_tile<Sum::replace>(space.v, kTileKeys, d, count, space.scores, nullptr, o, kPanel);
      } else {
        outer_tile<Sum::scale_and_add>(space.v, kTileKeys, d, count, space.scores, space.rescale, o, kPanel);
      }
    }
    if (sums_at_once) flush_sums(space.sums, count, block.column_sums + first);
  }

  weigh_queries(block, space);
  write_results(block, space);
  if (block.column_sums && !block.previous_lse) {
    for (int64_t i = 0; i < block.queries; ++i) space.lse[i] = space.own[i] * kLog2E;
    sum_columns_again(block, space, panels);
  }
  if (block.lse) {
    for (int64_t i = 0; i < block.queries; ++i) block.lse[i * block.lse_stride] = space.own[i];
  }
}

}  // namespace

const AttentionKernels attention_kernels = {kPanel, scratch_floats, attend};

}  // namespace tamias::TAMIAS_ISA
