// fc2 in fp32 for everything that the tensor cores' kernels refuse. A block owns 64 tokens of a group and 64 output
// columns.
#include "../common/plain_tile.cuh"
#include "mlp_tiles.cuh"

namespace tamias {
namespace {

using namespace plain;

template <class T, class W>
__global__ void __launch_bounds__(kThreads)
    fc2_plain_kernel(const __grid_constant__ Fc2Any<T, W> problem, int64_t token_tiles) {
  __shared__ __align__(16) Side a, w;
  const MlpShape& shape = problem.shape;
  const auto [piece, first_token, first_column, batch, group_start, tokens] = BlockTile(shape, token_tiles, kTile);
  if (first_token >= tokens) return;
  const ColumnList list(problem.lists, piece, shape.hidden);
  const bool dense = !problem.lists.counts;
  const T* slab = problem.slabs + piece * (dense ? shape.hidden : problem.lists.capacity) * shape.group + first_token;
  const int token_room = static_cast<int>(min(int64_t{kTile}, tokens - first_token));
  const int column_room = static_cast<int>(min(int64_t{kTile}, shape.width - first_column));

  float sum[4][4] = {};
  for (int64_t place = 0; place < list.count; place += kDepth) {
    __syncthreads();
    load_columns(a, [&](int k) { return place + k < list.count ? slab + (place + k) * shape.group : nullptr; },
                 token_room);
    load_columns(w, [&](int k) {
      return place + k < list.count
                 ? problem.w2t + list.column(static_cast<int32_t>(place + k)) * problem.w2t_row + first_column
                 : nullptr;
    }, column_room);
    __syncthreads();
    multiply_add(sum, a, w);
  }

#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int64_t token = first_token + own_row() + i;
    if (token >= tokens) break;
    const int64_t row = batch * problem.out_batch + (group_start + token) * problem.out_row;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int64_t column = first_column + own_column() + j;
      if (column >= shape.width) break;
      if (!dense) {
        problem.out[row + column] += sum[i][j];
      } else if (problem.out) {
        problem.out[row + column] = sum[i][j] + problem.b2.at(column);
      } else {
        problem.short_out[row + column] = from_float<__nv_bfloat16>(sum[i][j] + problem.b2.at(column));
      }
    }
  }
}

}  // namespace

template <class T, class W>
cudaError_t fc2_plain(const Fc2Any<T, W>& problem, cudaStream_t stream) {
  return launch_tiles(fc2_plain_kernel<T, W>, problem, problem.shape.width, kTile, kThreads, 0, stream);
}

template cudaError_t fc2_plain(const Fc2Any<float, float>&, cudaStream_t);
template cudaError_t fc2_plain(const Fc2Any<float, __nv_bfloat16>&, cudaStream_t);
template cudaError_t fc2_plain(const Fc2Any<__nv_bfloat16, float>&, cudaStream_t);
template cudaError_t fc2_plain(const Fc2Any<__nv_bfloat16, __nv_bfloat16>&, cudaStream_t);

}  // namespace tamias
