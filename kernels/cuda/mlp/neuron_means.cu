// Group means of pre-activations: means of the tokens, then fc1's product with them.
#include "../common/plain_tile.cuh"
#include "../common/tile_copy_sm80.cuh"
#include "mlp_any.h"

namespace tamias {
namespace {

// A mean as a sum of this many bf16, which together hold all the bits of an fp32: products with bf16 weights are then
// as exact on tensor cores as in fp32.
constexpr int kTerms = 3;

// means: contiguous [batch, groups, width], or, as bf16, [kTerms, batch, groups, width].
template <class T, class Mean>
__global__ void __launch_bounds__(256)
    token_means_kernel(MlpShape shape, const T* x, int64_t x_batch, int64_t x_row, Mean* means) {
  const int64_t piece = blockIdx.x;
  const int64_t groups = shape.groups();
  const int64_t start = piece % groups * shape.group;
  const int64_t tokens = min(shape.group, shape.tokens - start);
  for (int64_t d = int64_t{blockIdx.y} * 256 + threadIdx.x; d < shape.width; d += int64_t{gridDim.y} * 256) {
    const T* column = x + piece / groups * x_batch + start * x_row + d;
    float sum = 0;
#pragma unroll 8
    for (int64_t token = 0; token < tokens; ++token) sum += to_float(column[token * x_row]);
    float mean = sum / static_cast<float>(tokens);
    Mean* out = means + piece * shape.width + d;
    if constexpr (sizeof(Mean) == sizeof(float)) {
      *out = mean;
    } else {
#pragma unroll
      for (int term = 0; term < kTerms; ++term) {
        const Mean part = __float2bfloat16_rn(mean);
        out[term * shape.batch * groups * shape.width] = part;
        mean -= __bfloat162float(part);
      }
    }
  }
}

template <class T, class W>
__global__ void __launch_bounds__(plain::kThreads)
    neuron_means_plain_kernel(const __grid_constant__ NeuronMeans<T, W> problem, const float* token_means,
                              int64_t piece_tiles) {
  using namespace plain;
  __shared__ __align__(16) Side m, w;
  const MlpShape& shape = problem.shape;
  const int64_t groups = shape.groups();
  const int64_t pieces = shape.batch * groups;
  const int64_t first_piece = blockIdx.x % piece_tiles * kTile;
  const int64_t first_neuron = blockIdx.x / piece_tiles * kTile;
  float sum[4][4] = {};
  for (int64_t d = 0; d < shape.width; d += kDepth) {
    __syncthreads();
    load_rows(m, [&](int i) {
      return first_piece + i < pieces ? token_means + (first_piece + i) * shape.width : nullptr;
    }, d, shape.width);
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

constexpr int kThreads = 256;  // 4 x 2 warps of 16 groups x 32 neurons
constexpr int kPieces = 64;
constexpr int kNeurons = 64;
constexpr int kDepth = 64;
constexpr int kStages = 3;
constexpr int kTileBytes = 64 * kDepth * 2;
constexpr int kStageBytes = (kTerms + 1) * kTileBytes;

template <class T>
__global__ void __launch_bounds__(kThreads, 2)
    neuron_means_mma_kernel(const __grid_constant__ NeuronMeans<T, __nv_bfloat16> problem, const __nv_bfloat16* terms,
                            int64_t piece_tiles) {
  using namespace sm80;
  extern __shared__ __align__(1024) char shared[];
  const MlpShape& shape = problem.shape;
  const int64_t groups = shape.groups();
  const int64_t pieces = shape.batch * groups;
  const int64_t first_piece = blockIdx.x % piece_tiles * kPieces;
  const int64_t first_neuron = blockIdx.x / piece_tiles * kNeurons;
  const int width = static_cast<int>(shape.width);
  const int steps = (width + kDepth - 1) / kDepth;

  const uint32_t ring = shared_address(shared);
  const TileCopy<kThreads, 64, kDepth> copy;
  const auto copy_step = [&](int step) {
    if (step < steps) {
      const uint32_t stage = ring + step % kStages * kStageBytes;
#pragma unroll
      for (int pass = 0; pass < decltype(copy)::kPasses; ++pass) {
        const int64_t piece = first_piece + copy.row_of(pass), neuron = first_neuron + copy.row_of(pass);
#pragma unroll
        for (int term = 0; term < kTerms; ++term) {
          copy.copy(stage + term * kTileBytes, pass, terms + (term * pieces + piece) * shape.width, step * kDepth,
                    width, piece < pieces);
        }
        copy.copy(stage + kTerms * kTileBytes, pass, problem.w1 + neuron * problem.w1_row, step * kDepth, width,
                  neuron < shape.hidden);
      }
    }
    copies_commit();
  };
  for (int step = 0; step < kStages - 1; ++step) copy_step(step);

  const int lane = threadIdx.x % 32;
  const int warp_piece = threadIdx.x / 32 / 2 * 16, warp_neuron = threadIdx.x / 32 % 2 * 32;
  float sum[4][4] = {};
  for (int step = 0; step < steps; ++step) {
    copies_wait<kStages - 2>();
    __syncthreads();
    copy_step(step + kStages - 1);
    const uint32_t means = ring + step % kStages * kStageBytes;
    const uint32_t w = means + kTerms * kTileBytes;
#pragma unroll
    for (int k = 0; k < kDepth / 16; ++k) {
      uint32_t b[2][4];
#pragma unroll
      for (int n = 0; n < 2; ++n) {
        load_matrices(b[n], w + tile_offset(kNeurons, warp_neuron + lane / 16 * 8 + lane % 8, k * 2 + lane / 8 % 2) +
                                n * kRows16);
      }
#pragma unroll
      for (int term = 0; term < kTerms; ++term) {
        uint32_t a[4];
        load_matrices(a, means + term * kTileBytes + tile_offset(kPieces, warp_piece + lane % 16, k * 2 + lane / 16));
#pragma unroll
        for (int n = 0; n < 2; ++n) {
          multiply_add(sum[2 * n], a, b[n][0], b[n][1]);
          multiply_add(sum[2 * n + 1], a, b[n][2], b[n][3]);
        }
      }
    }
  }
  copies_wait<0>();

#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int64_t piece = first_piece + warp_piece + half * 8 + lane / 4;
    if (piece >= pieces) continue;
    float* means = problem.means + piece / groups * problem.means_batch + piece % groups * problem.means_row;
#pragma unroll
    for (int n = 0; n < 4; ++n) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int64_t neuron = first_neuron + warp_neuron + n * 8 + lane % 4 * 2 + i;
        if (neuron < shape.hidden) means[neuron] = sum[n][2 * half + i] + problem.b1.at(neuron);
      }
    }
  }
}

template <class T, class W>
bool mma_fits(const NeuronMeans<T, W>& problem) {
  return sizeof(W) == 2 && problem.shape.width % 8 == 0 && problem.shape.width <= INT32_MAX - kDepth &&
         reinterpret_cast<uintptr_t>(problem.w1) % 16 == 0 && problem.w1_row % 8 == 0;
}

template <class T, class Mean>
void launch_token_means(const MlpShape& shape, const T* x, int64_t x_batch, int64_t x_row, Mean* means,
                        cudaStream_t stream) {
  if (shape.width == 0) return;
  const int64_t strips = (shape.width + 255) / 256;
  const dim3 grid(static_cast<unsigned>(shape.batch * shape.groups()),
                  static_cast<unsigned>(strips < 65535 ? strips : 65535));
  token_means_kernel<<<grid, 256, 0, stream>>>(shape, x, x_batch, x_row, means);
}

}  // namespace

template <class T, class W>
size_t neuron_means_workspace(const NeuronMeans<T, W>& problem) {
  const size_t bytes = mma_fits(problem) ? kTerms * sizeof(__nv_bfloat16) : sizeof(float);
  return problem.shape.batch * problem.shape.groups() * problem.shape.width * bytes;
}

template <class T, class W>
cudaError_t neuron_means(const NeuronMeans<T, W>& problem, char* workspace, cudaStream_t stream) {
  const MlpShape& shape = problem.shape;
  const int64_t pieces = shape.batch * shape.groups();
  static_assert(kPieces == plain::kTile && kNeurons == plain::kTile);
  const int64_t piece_tiles = (pieces + kPieces - 1) / kPieces;
  const int64_t blocks = (shape.hidden + kNeurons - 1) / kNeurons * piece_tiles;
  if (blocks > INT32_MAX || pieces > INT32_MAX) return cudaErrorInvalidConfiguration;
  if (blocks == 0) return cudaSuccess;
  const unsigned grid = static_cast<unsigned>(blocks);
  if constexpr (sizeof(W) == 2) {
    if (mma_fits(problem)) {
      constexpr int kBytes = kStages * kStageBytes;
      const auto kernel = neuron_means_mma_kernel<T>;
      const cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
      if (error != cudaSuccess) return error;
      __nv_bfloat16* terms = reinterpret_cast<__nv_bfloat16*>(workspace);
      launch_token_means(shape, problem.x, problem.x_batch, problem.x_row, terms, stream);
      kernel<<<grid, kThreads, kBytes, stream>>>(problem, terms, piece_tiles);
      return cudaGetLastError();
    }
  }
  float* means = reinterpret_cast<float*>(workspace);
  launch_token_means(shape, problem.x, problem.x_batch, problem.x_row, means, stream);
  neuron_means_plain_kernel<<<grid, plain::kThreads, 0, stream>>>(problem, means, piece_tiles);
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
