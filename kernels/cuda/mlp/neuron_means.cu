// Group means of pre-activations: means of the tokens, then the first layer's product with them, both in fp32.
#include "../common/plain_tile.cuh"
#include "mlp_any.h"

namespace tamias {
namespace {

using namespace plain;

// token_means: contiguous [batch, groups, width].
template <class T>
__global__ void __launch_bounds__(kThreads)
    token_means_kernel(MlpShape shape, const T* x, int64_t x_batch, int64_t x_row, float* token_means) {
  const int64_t piece = blockIdx.x;
  const int64_t groups = shape.groups();
  const int64_t start = piece % groups * shape.group;
  const int64_t tokens = min(shape.group, shape.tokens - start);
  for (int64_t d = int64_t{blockIdx.y} * kThreads + threadIdx.x; d < shape.width; d += int64_t{gridDim.y} * kThreads) {
    const T* column = x + piece / groups * x_batch + start * x_row + d;
    float sum = 0;
#pragma unroll 8
    for (int64_t token = 0; token < tokens; ++token) sum += to_float(column[token * x_row]);
    token_means[piece * shape.width + d] = sum / static_cast<float>(tokens);
  }
}

template <class T, class W>
__global__ void __launch_bounds__(kThreads)
    neuron_means_kernel(const __grid_constant__ NeuronMeans<T, W> problem, const float* token_means,
                        int64_t piece_tiles) {
  __shared__ __align__(16) Side m, w;
  const MlpShape& shape = problem.shape;
  const int64_t groups = shape.groups();
  const int64_t pieces = shape.batch * groups;
  const int64_t first_piece = blockIdx.x % piece_tiles * kTile;
  const int64_t first_neuron = blockIdx.x / piece_tiles * kTile;
  float sum[4][4] = {};
  for (int64_t d = 0; d < shape.width; d += kDepth) {
    __syncthreads();
    load_rows(m, [&](int i) { return first_piece + i < pieces ? token_means + (first_piece + i) * shape.width : nullptr; },
              d, shape.width);
    load_rows(w, [&](int i) {
      return first_neuron + i < shape.hidden ? problem.w1 + (first_neuron + i) * problem.w1_row : nullptr;
    }, d, shape.width);
    __syncthreads();
    multiply_add(sum, m, w);
  }
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int64_t piece = first_piece + own_row() + i;
    if (piece >= pieces) break;
    float* means = problem.means + piece / groups * problem.means_batch + piece % groups * problem.means_row;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const int64_t neuron = first_neuron + own_column() + j;
      if (neuron < shape.hidden) means[neuron] = sum[i][j] + problem.b1.at(neuron);
    }
  }
}

}  // namespace

template <class T, class W>
size_t neuron_means_workspace(const NeuronMeans<T, W>& problem) {
  return problem.shape.batch * problem.shape.groups() * problem.shape.width * sizeof(float);
}

template <class T, class W>
cudaError_t neuron_means(const NeuronMeans<T, W>& problem, char* workspace, cudaStream_t stream) {
  const MlpShape& shape = problem.shape;
  float* token_means = reinterpret_cast<float*>(workspace);
  const int64_t pieces = shape.batch * shape.groups();
  const int64_t piece_tiles = (pieces + kTile - 1) / kTile;
  const int64_t blocks = (shape.hidden + kTile - 1) / kTile * piece_tiles;
  if (blocks > INT32_MAX || pieces > INT32_MAX) return cudaErrorInvalidConfiguration;
  if (blocks == 0) return cudaSuccess;
  if (shape.width > 0) {
    const int64_t strips = (shape.width + kThreads - 1) / kThreads;
    const dim3 grid(static_cast<unsigned>(pieces), static_cast<unsigned>(strips < 65535 ? strips : 65535));
    token_means_kernel<<<grid, kThreads, 0, stream>>>(shape, problem.x, problem.x_batch, problem.x_row, token_means);
  }
  neuron_means_kernel<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(problem, token_means, piece_tiles);
  return cudaGetLastError();
}

template size_t neuron_means_workspace(const NeuronMeans<float, float>&);
template size_t neuron_means_workspace(const NeuronMeans<float, __nv_bfloat16>&);
template size_t neuron_means_workspace(const NeuronMeans<__nv_bfloat16, float>&);
template size_t neuron_means_workspace(const NeuronMeans<__nv_bfloat16, __nv_bfloat16>&);
template cudaError_t neuron_means(const NeuronMeans<float, float>&, char*, cudaStream_t);
template cudaError_t neuron_means(const NeuronMeans<float, __nv_bfloat16>&, char*, cudaStream_t);
template cudaError_t neuron_means(const NeuronMeans<__nv_bfloat16, float>&, char*, cudaStream_t);
template cudaError_t neuron_means(const NeuronMeans<__nv_bfloat16, __nv_bfloat16>&, char*, cudaStream_t);

}  // namespace tamias
