// Column sums in fp32 for everything that the tensor cores' kernel refuses. A block owns 64 keys of one group.
#include "../common/plain_tile.cuh"
#include "query_result.cuh"

namespace tamias {
namespace {

using namespace plain;

template <class T>
__global__ void __launch_bounds__(kThreads)
    column_sums_plain_kernel(const __grid_constant__ ColumnSums<T> problem, int64_t blocks_per_group) {
  __shared__ __align__(16) Side q, k;
  __shared__ float partial[kTile / 4][kTile];
  const AttentionShape& shape = problem.shape;
  const int64_t groups = (shape.queries + problem.group - 1) / problem.group;
  const int64_t item = blockIdx.x / blocks_per_group;
  const int64_t first_key = blockIdx.x % blocks_per_group * kTile;
  const int64_t b = item / groups / shape.heads, h = item / groups % shape.heads;
  const int64_t first = item % groups * problem.group;
  const int64_t queries = min(problem.group, shape.queries - first);
  const int row = own_row(), column = own_column();

  const float log2_scale = shape.scale * kLog2E;
  float sums[4] = {};
  for (int64_t tile = 0; tile < queries; tile += kTile) {
    float s[4][4] = {};
    for (int64_t d = 0; d < shape.head_dim; d += kDepth) {
      __syncthreads();
      load_rows(q, [&](int i) { return tile + i < queries ? problem.q.at(b, h, first + tile + i) : nullptr; }, d,
                shape.head_dim);
      load_rows(k, [&](int i) { return first_key + i < shape.keys ? problem.k.at(b, h, first_key + i) : nullptr; }, d,
                shape.head_dim);
      __syncthreads();
      multiply_add(s, q, k);
    }
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (tile + row + i >= queries) break;
      const float lse = *problem.lse.at(b, h, first + tile + row + i) * kLog2E;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        // Another step's log-sum-exp may be far too low: bounded, as a sum of infinities would rank nothing.
        sums[j] += exp2f(fminf(s[i][j] * log2_scale - lse, 127.0f));
      }
    }
  }
#pragma unroll
  for (int j = 0; j < 4; ++j) partial[row / 4][column + j] = sums[j];
  __syncthreads();
  if (threadIdx.x >= kTile || first_key + threadIdx.x >= shape.keys) return;
  float sum = 0;
  for (int i = 0; i < kTile / 4; ++i) sum += partial[i][threadIdx.x];
  problem.sums[item * shape.keys + first_key + threadIdx.x] = sum;
}

}  // namespace

template <class T>
cudaError_t column_sums_plain(const ColumnSums<T>& problem, cudaStream_t stream) {
  const AttentionShape& shape = problem.shape;
  const int64_t groups = (shape.queries + problem.group - 1) / problem.group;
  const int64_t blocks_per_group = (shape.keys + kTile - 1) / kTile;
  const int64_t blocks = int64_t{shape.batch} * shape.heads * groups * blocks_per_group;
  if (blocks > INT32_MAX) return cudaErrorInvalidConfiguration;
  if (blocks == 0) return cudaSuccess;
  column_sums_plain_kernel<T>
      <<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(problem, blocks_per_group);
  return cudaGetLastError();
}

template cudaError_t column_sums_plain(const ColumnSums<float>& problem, cudaStream_t stream);
template cudaError_t column_sums_plain(const ColumnSums<__nv_bfloat16>& problem, cudaStream_t stream);

}  // namespace tamias
