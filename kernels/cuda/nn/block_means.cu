#include <algorithm>

#include "common/checks/rows.h"
#include "pieces.cuh"
#include "runtime/check.h"
#include "runtime/run.h"

using namespace tamias;

namespace {

constexpr int kColumnThreads = 32;
constexpr int kTokenThreads = 8;  // each adds up every eighth token

struct BlockMeans {
  const void* x;
  int32_t dtype;
  int64_t x_batch, x_token;
  float* out;
  int64_t out_batch, out_group;
  int64_t tokens, d, group, groups;
};

// kSize columns a thread, of one group.
template <int kSize>
__global__ __launch_bounds__(kColumnThreads* kTokenThreads) void block_means(const BlockMeans problem,
                                                                             uint32_t column_blocks) {
  __shared__ float partial[kTokenThreads][kColumnThreads * kSize + 1];
  const int64_t first_column = int64_t{blockIdx.x % column_blocks} * (kColumnThreads * kSize);
  const uint32_t outer = blockIdx.x / column_blocks;
  const int64_t group = outer % static_cast<uint32_t>(problem.groups);
  const int64_t batch = outer / static_cast<uint32_t>(problem.groups);
  const int64_t first = group * problem.group;
  const int64_t last = min(first + problem.group, problem.tokens);
  const int64_t column = first_column + threadIdx.x * kSize;
  float sums[kSize] = {};
  if (column < problem.d) {
    const int64_t from = batch * problem.x_batch + column;
#pragma unroll 4
    for (int64_t token = first + threadIdx.y; token < last; token += kTokenThreads) {
      if constexpr (kSize == 1) {
        sums[0] += load_element(problem.x, problem.dtype, from + token * problem.x_token);
      } else {
        float values[kPiece];
        unpack_piece(load_piece(problem.x, problem.dtype, from + token * problem.x_token), problem.dtype, values);
#pragma unroll
        for (int k = 0; k < kSize; ++k) sums[k] += values[k];
      }
    }
  }
#pragma unroll
  for (int k = 0; k < kSize; ++k) partial[threadIdx.y][threadIdx.x * kSize + k] = sums[k];
  __syncthreads();
  const int thread = threadIdx.y * kColumnThreads + threadIdx.x;
  float* means = problem.out + batch * problem.out_batch + group * problem.out_group;
  if (thread < kColumnThreads * kSize && first_column + thread < problem.d) {
    float sum = 0;
#pragma unroll
    for (int i = 0; i < kTokenThreads; ++i) sum += partial[i][thread];
    means[first_column + thread] = sum / static_cast<float>(last - first);
  }
}

}  // namespace

extern "C" int32_t tamias_block_means(uint64_t stream, const tamias_tensor* x, int64_t group,
                                      const tamias_tensor* out) {
  return run_op("block_means", stream, [&](Op& op) {
    const BlockMeansArguments arguments(op, x, group, out);
    if (arguments.out.empty()) return;
    const View& in = arguments.x;
    const View& result = arguments.out;
    const BlockMeans problem = {in.data,        in.dtype,       in.step(0), in.step(1), result.f32(),    result.step(0),
                                result.step(1), in.size(1),     in.size(2), group,      arguments.groups};
    const int size = rows_have_pieces(in) ? kPiece : 1;
    const int64_t column_blocks = (problem.d + kColumnThreads * size - 1) / (kColumnThreads * size);
    const int64_t blocks = in.size(0) * problem.groups * column_blocks;
    if (blocks > INT32_MAX) refuse("out of shape %s is more than a grid", result.shape_text().c_str());
    op.submit([=](const Run& run) {
      const auto kernel = size == kPiece ? block_means<kPiece> : block_means<1>;
      kernel<<<static_cast<unsigned>(blocks), dim3(kColumnThreads, kTokenThreads), 0, run.stream>>>(
          problem, static_cast<uint32_t>(column_blocks));
    });
  });
}
