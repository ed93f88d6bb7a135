// fc1 in fp32 for everything that the tensor cores' kernels refuse. A block owns 64 places of a group's list and 64 of
// its tokens.
#include "../common/activation.cuh"
#include "../common/plain_tile.cuh"
#include "mlp_tiles.cuh"

namespace tamias {
namespace {

using namespace plain;

template <class T, class W>
__global__ void __launch_bounds__(kThreads)
    fc1_plain_kernel(const __grid_constant__ Fc1Any<T, W> problem, int64_t token_tiles) {
  __shared__ __align__(16) Side w, x;
  __shared__ int32_t neurons[kTile];
  const MlpShape& shape = problem.shape;
  const auto [piece, first_token, first_place, batch, group_start, tokens] = BlockTile(shape, token_tiles, kTile);
  const ColumnList list(problem.lists, piece, shape.hidden);
  if (first_place >= list.count) return;
  const int places = static_cast<int>(min(int64_t{kTile}, list.count - first_place));
  const T* group_x = problem.x + batch * problem.x_batch + group_start * problem.x_row;

  if (threadIdx.x < places) neurons[threadIdx.x] = list.column(static_cast<int32_t>(first_place + threadIdx.x));
  float sum[4][4] = {};
  for (int64_t d = 0; d < shape.width; d += kDepth) {
    __syncthreads();
    load_rows(w, [&](int i) { return i < places ? problem.w1 + neurons[i] * problem.w1_row : nullptr; }, d,
              shape.width);
    load_rows(x, [&](int i) {
      return first_token + i < tokens ? group_x + (first_token + i) * problem.x_row : nullptr;
    }, d, shape.width);
    __syncthreads();
    multiply_add(sum, w, x);
  }
  __syncthreads();

  T* slab = problem.activations + piece * shape.hidden * shape.group;
  T* delta = problem.delta ? problem.delta + piece * problem.lists.capacity * shape.group : nullptr;
  with_activation(problem.activation, [&](auto constant) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int place = own_row() + i;
      if (place >= places) break;
      const int64_t neuron = neurons[place];
      const float bias = problem.b1.at(neuron);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int64_t token = first_token + own_column() + j;
        if (token >= shape.group) break;
        const float now = token < tokens ? activate<decltype(constant)::kValue>(sum[i][j] + bias) : 0.0f;
        T& kept = slab[neuron * shape.group + token];
        if (delta) delta[(first_place + place) * shape.group + token] = from_float<T>(now - to_float(kept));
        kept = from_float<T>(now);
      }
    }
  });
}

}  // namespace

template <class T, class W>
cudaError_t fc1_plain(const Fc1Any<T, W>& problem, cudaStream_t stream) {
  return launch_tiles(fc1_plain_kernel<T, W>, problem, problem.places(), kTile, kThreads, 0, stream);
}

template cudaError_t fc1_plain(const Fc1Any<float, float>&, cudaStream_t);
template cudaError_t fc1_plain(const Fc1Any<float, __nv_bfloat16>&, cudaStream_t);
template cudaError_t fc1_plain(const Fc1Any<__nv_bfloat16, float>&, cudaStream_t);
template cudaError_t fc1_plain(const Fc1Any<__nv_bfloat16, __nv_bfloat16>&, cudaStream_t);

}  // namespace tamias
