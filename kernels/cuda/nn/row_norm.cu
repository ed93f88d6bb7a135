// layer_norm, rms_norm.
#include <algorithm>

#include "common/checks/norm.h"
#include "pieces.cuh"
#include "reduce.cuh"
#include "runtime/check.h"
#include "runtime/run.h"
#include "walk.h"

using namespace tamias;

namespace {

constexpr int kMostThreads = 1024;

// A row of `d` parameters for all rows of a batch; data is null if it is absent.
struct NormParameter {
  const void* data;
  int32_t dtype;
  int64_t batch, step;

  explicit NormParameter(const View& view)
      : data(view.data), dtype(view.dtype), batch(view.rank == 2 ? view.step(0) : 0), step(view ? view.step(-1) : 0) {}
};

// The rows of one tensor: a batch, and up to two dimensions within.
struct NormRows {
  int64_t batch = 0;
  int64_t outer = 0;
  int64_t inner = 0;
};

struct NormProblem {
  const void* x;
  void* out;
  int32_t x_dtype, out_dtype;
  NormRows x_rows, out_rows;
  uint32_t rows;  // of a batch
  FastDivisor inner;
  int64_t d;
  float epsilon;
  NormParameter weight, bias, scale, shift;

  __device__ __forceinline__ void find(uint32_t row, int64_t& from, int64_t& to) const {
    uint32_t rest;
    const uint32_t outer = inner.divide(row, rest);
    from = blockIdx.y * x_rows.batch + outer * x_rows.outer + rest * x_rows.inner;
    to = blockIdx.y * out_rows.batch + outer * out_rows.outer + rest * out_rows.inner;
  }
};

// 1 / sqrt(variance + epsilon), given this thread's sum of squares.
__device__ __forceinline__ float norm_factor(float squares, const NormProblem& problem, float* sums) {
  return 1.0f / sqrtf(sum_of_block(squares, sums) / static_cast<float>(problem.d) + problem.epsilon);
}

constexpr int kPieces = 2;  // that a thread keeps of a row
constexpr int kKeptThreads = 512;
constexpr int64_t kLongestKept = kPieces * kPiece * kKeptThreads;

__device__ __forceinline__ void load_parameter(const NormParameter& parameter, int64_t at, float (&values)[kPiece]) {
  const int64_t offset = blockIdx.y * parameter.batch + at;
  unpack_piece(load_piece(parameter.data, parameter.dtype, offset), parameter.dtype, values);
}

// A block takes every gridDim.x-th row of a batch, and asks for the next one before it works on the last: out = norm *
// factor + offset, whose pieces stay in registers.
template <bool kCentred>
__global__ __launch_bounds__(kKeptThreads) void norm_kept_rows(const NormProblem problem) {
  __shared__ float sums[2][2][32];
  const auto pieces = static_cast<uint32_t>(problem.d / kPiece);
  const auto at = [](int i) { return (static_cast<int64_t>(i) * blockDim.x + threadIdx.x) * kPiece; };
  const auto exists = [&](int i) { return i * blockDim.x + threadIdx.x < pieces; };
  float factors[kPieces][kPiece];
  float offsets[kPieces][kPiece];
#pragma unroll
  for (int i = 0; i < kPieces; ++i) {
#pragma unroll
    for (int k = 0; k < kPiece; ++k) {
      factors[i][k] = 1;
      offsets[i][k] = 0;
    }
    if (!exists(i)) continue;
    if (problem.weight.data) load_parameter(problem.weight, at(i), factors[i]);
    if (kCentred && problem.bias.data) load_parameter(problem.bias, at(i), offsets[i]);
    float values[kPiece];
    if (kCentred && problem.scale.data) {
      load_parameter(problem.scale, at(i), values);
#pragma unroll
      for (int k = 0; k < kPiece; ++k) {
        factors[i][k] = fmaf(factors[i][k], values[k], factors[i][k]);
        offsets[i][k] = fmaf(offsets[i][k], values[k], offsets[i][k]);
      }
    }
    if (kCentred && problem.shift.data) {
      load_parameter(problem.shift, at(i), values);
#pragma unroll
      for (int k = 0; k < kPiece; ++k) offsets[i][k] += values[k];
    }
  }

  int64_t from, to;
  RawPiece raw[kPieces] = {};
  const auto load = [&](uint32_t row) {
    problem.find(row, from, to);
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      if (exists(i)) raw[i] = load_piece(problem.x, problem.x_dtype, from + at(i));
    }
  };
  int turn = 0;  // of the sums: a barrier lies between two uses
  if (blockIdx.x < problem.rows) load(blockIdx.x);
  for (uint32_t row = blockIdx.x; row < problem.rows; row += gridDim.x, turn ^= 1) {
    float values[kPieces][kPiece];
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      unpack_piece(raw[i], problem.x_dtype, values[i]);
#pragma unroll
      for (int k = 0; k < kPiece; ++k) sum += values[i][k];  // pieces beyond the row are 0
    }
    const int64_t own = to;
    if (row + gridDim.x < problem.rows) load(row + gridDim.x);
    const float mean = kCentred ? sum_of_block(sum, sums[turn][0]) / static_cast<float>(problem.d) : 0.0f;
    float squares = 0;
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      if (!exists(i)) continue;
#pragma unroll
      for (int k = 0; k < kPiece; ++k) {
        values[i][k] -= mean;
        squares = fmaf(values[i][k], values[i][k], squares);
      }
    }
    const float factor = norm_factor(squares, problem, sums[turn][1]);
#pragma unroll
    for (int i = 0; i < kPieces; ++i) {
      if (!exists(i)) continue;
#pragma unroll
      for (int k = 0; k < kPiece; ++k) values[i][k] = fmaf(values[i][k] * factor, factors[i][k], offsets[i][k]);
      store_piece(problem.out, problem.out_dtype, own + at(i), values[i]);
    }
  }
}

// Any row, one a block, read from memory again for every pass.
template <bool kCentred>
__global__ __launch_bounds__(kMostThreads) void norm_any_rows(const NormProblem problem) {
  __shared__ float sums[2][32];
  int64_t from, to;
  problem.find(blockIdx.x, from, to);
  const auto value_at = [&](int64_t i) { return load_element(problem.x, problem.x_dtype, from + i); };
  const auto parameter_at = [&](const NormParameter& parameter, int64_t i) {
    return load_element(parameter.data, parameter.dtype, blockIdx.y * parameter.batch + i * parameter.step);
  };
  float mean = 0;
  if constexpr (kCentred) {
    float sum = 0;
    for (int64_t i = threadIdx.x; i < problem.d; i += blockDim.x) sum += value_at(i);
    mean = sum_of_block(sum, sums[0]) / static_cast<float>(problem.d);
  }
  float squares = 0;
  for (int64_t i = threadIdx.x; i < problem.d; i += blockDim.x) {
    const float distance = value_at(i) - mean;
    squares = fmaf(distance, distance, squares);
  }
  const float factor = norm_factor(squares, problem, sums[1]);
  for (int64_t i = threadIdx.x; i < problem.d; i += blockDim.x) {
    float y = (value_at(i) - mean) * factor;
    if (problem.weight.data) y *= parameter_at(problem.weight, i);
    if (kCentred && problem.bias.data) y += parameter_at(problem.bias, i);
    if (kCentred && problem.scale.data) y = fmaf(y, parameter_at(problem.scale, i), y);
    if (kCentred && problem.shift.data) y += parameter_at(problem.shift, i);
    store_element(problem.out, problem.out_dtype, to + i, y);
  }
}

// Up to two dimensions before the last are rows of a batch; of four, the first is the batch.
NormRows rows_of(const View& view) {
  NormRows rows;
  if (view.rank >= 3) rows.batch = view.step(0);
  if (view.rank == 4) rows.outer = view.step(1);
  rows.inner = view.step(-2);
  return rows;
}

template <bool kCentred>
void launch(const Run& run, const View& x, const View& out, const View& weight, const View& bias, const View& scale,
            const View& shift, float epsilon) {
  const int64_t batch = x.rank >= 3 ? x.size(0) : 1;
  const int64_t inner = x.size(-2);
  const int64_t rows = x.rank == 4 ? x.size(1) * inner : inner;
  if (rows >= kMostUnits || batch > 65535) refuse("x of shape %s is more than a grid", x.shape_text().c_str());
  const NormProblem problem = {x.data,
                               out.data,
                               x.dtype,
                               out.dtype,
                               rows_of(x),
                               rows_of(out),
                               static_cast<uint32_t>(rows),
                               FastDivisor(static_cast<uint32_t>(inner)),
                               x.size(-1),
                               epsilon,
                               NormParameter(weight),
                               NormParameter(bias),
                               NormParameter(scale),
                               NormParameter(shift)};
  bool kept = problem.d <= kLongestKept;
  for (const View* view : {&x, &out, &weight, &bias, &scale, &shift}) kept = kept && rows_have_pieces(*view);
  if (kept) {
    const int64_t threads = (problem.d / kPiece + kPieces * 32 - 1) / (kPieces * 32) * 32;
    const int64_t blocks = std::max<int64_t>(1, 768 / threads) * run.multiprocessors;
    const dim3 grid(static_cast<unsigned>(std::min(rows, blocks)), static_cast<unsigned>(batch));
    norm_kept_rows<kCentred><<<grid, static_cast<unsigned>(threads), 0, run.stream>>>(problem);
  } else {
    const int64_t threads = std::min<int64_t>((problem.d + 127) / 128 * 32, kMostThreads);
    const dim3 grid(problem.rows, static_cast<unsigned>(batch));
    norm_any_rows<kCentred><<<grid, static_cast<unsigned>(threads), 0, run.stream>>>(problem);
  }
}

}  // namespace

extern "C" int32_t tamias_layer_norm(uint64_t stream, const tamias_tensor* x, const tamias_tensor* weight,
                                     const tamias_tensor* bias, const tamias_tensor* scale, const tamias_tensor* shift,
                                     float epsilon, const tamias_tensor* out) {
  return run_op("layer_norm", stream, [&](Op& op) {
    const LayerNormArguments a(op, x, weight, bias, scale, shift, epsilon, out);
    if (a.out.empty()) return;
    op.submit([=](const Run& run) {
      launch<true>(run, a.x, a.out, a.weight, a.bias, a.scale, a.shift, a.epsilon);
    });
  });
}

extern "C" int32_t tamias_rms_norm(uint64_t stream, const tamias_tensor* x, const tamias_tensor* weight, float epsilon,
                                   const tamias_tensor* out) {
  return run_op("rms_norm", stream, [&](Op& op) {
    const RmsNormArguments a(op, x, weight, epsilon, out);
    if (a.out.empty()) return;
    const View none;
    op.submit([=](const Run& run) { launch<false>(run, a.x, a.out, a.weight, none, none, none, a.epsilon); });
  });
}
