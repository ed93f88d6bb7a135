#include "common/checks/rows.h"
#include "pieces.cuh"
#include "reduce.cuh"
#include "runtime/check.h"
#include "runtime/run.h"

using namespace tamias;

namespace {

constexpr int kThreads = 256;

struct RowNorms {
  const void* x;
  int32_t dtype;
  int64_t x_row, d;
  float* out;
  int64_t out_step;
};

__global__ __launch_bounds__(kThreads) void row_norms(const RowNorms problem, bool packed) {
  __shared__ float sums[32];
  const int64_t row = blockIdx.x;
  const int64_t from = row * problem.x_row;
  float squares = 0;
  if (packed) {
    for (int64_t i = threadIdx.x * kPiece; i < problem.d; i += kThreads * kPiece) {
      float values[kPiece];
      unpack_piece(load_piece(problem.x, problem.dtype, from + i), problem.dtype, values);
#pragma unroll
      for (int k = 0; k < kPiece; ++k) squares += values[k] * values[k];
    }
  } else {
    for (int64_t i = threadIdx.x; i < problem.d; i += kThreads) {
      const float value = load_element(problem.x, problem.dtype, from + i);
      squares += value * value;
    }
  }
  squares = sum_of_block(squares, sums);
  if (threadIdx.x == 0) problem.out[row * problem.out_step] = sqrtf(squares);
}

}  // namespace

extern "C" int32_t tamias_row_norms(uint64_t stream, const tamias_tensor* x, const tamias_tensor* out) {
  return run_op("row_norms", stream, [&](Op& op) {
    const RowNormsArguments arguments(op, x, out);
    if (arguments.out.empty()) return;
    const View& in = arguments.x;
    const View& result = arguments.out;
    if (in.size(0) > INT32_MAX) refuse("x has %lld rows, more than a grid", (long long)in.size(0));
    const RowNorms problem = {in.data, in.dtype, in.step(0), in.size(1), result.f32(), result.step(0)};
    const bool packed = rows_have_pieces(in);
    op.submit([=](const Run& run) {
      row_norms<<<static_cast<unsigned>(in.size(0)), kThreads, 0, run.stream>>>(problem, packed);
    });
  });
}
