// The first layer on tensor cores from sm_80 on, by mma.sync. A block owns 128 places of a group's list and 128 of its
// tokens: neurons are the rows of the product, so that results leave neuron-major, as slabs are.
#include "../common/activation.cuh"
#include "../common/tile_copy_sm80.cuh"
#include "mlp_any.h"

namespace tamias {
namespace {

using namespace sm80;
using Problem = FirstLayerAny<__nv_bfloat16, __nv_bfloat16>;

constexpr int kThreads = 256;  // 4 x 2 warps of 32 places x 64 tokens
constexpr int kPlaces = 128;
constexpr int kTokens = 128;
constexpr int kDepth = 64;
constexpr int kStages = 3;
constexpr int kPlaceBytes = kPlaces * kDepth * 2;
constexpr int kStageBytes = kPlaceBytes + kTokens * kDepth * 2;

__global__ void __launch_bounds__(kThreads, 2)
    first_layer_mma_kernel(const __grid_constant__ Problem problem, int64_t token_tiles) {
  extern __shared__ __align__(1024) char shared[];
  const MlpShape& shape = problem.shape;
  const int64_t groups = shape.groups();
  // Blocks that run together read about the same tenth of the weights: lists ascend.
  const int64_t first_token = blockIdx.x % token_tiles * kTokens;
  const int64_t item = blockIdx.x / token_tiles;
  const int64_t piece = item % (shape.batch * groups);
  const int64_t first_place = item / (shape.batch * groups) * kPlaces;
  const ColumnList list(problem.lists, piece, shape.hidden);
  if (first_place >= list.count) return;
  const int places = static_cast<int>(min(int64_t{kPlaces}, list.count - first_place));
  const int64_t group_start = piece % groups * shape.group;
  const int64_t tokens = min(shape.group, shape.tokens - group_start);
  const int width = static_cast<int>(shape.width);
  const int steps = (width + kDepth - 1) / kDepth;

  const uint32_t ring = shared_address(shared);
  const TileCopy<kThreads, 128, kDepth> copy;
  constexpr int kPasses = decltype(copy)::kPasses;
  const __nv_bfloat16* w_rows[kPasses];
  const __nv_bfloat16* x_rows[kPasses];
  const __nv_bfloat16* group_x = problem.x + piece / groups * problem.x_batch + group_start * problem.x_row;
#pragma unroll
  for (int pass = 0; pass < kPasses; ++pass) {
    const int row = copy.row_of(pass);
    w_rows[pass] = row < places ? problem.w1 + list.column(static_cast<int32_t>(first_place + row)) * problem.w1_row
                                : nullptr;
    x_rows[pass] = first_token + row < tokens ? group_x + (first_token + row) * problem.x_row : nullptr;
  }
  const auto copy_step = [&](int step) {
    if (step < steps) {
      const uint32_t stage = ring + step % kStages * kStageBytes;
#pragma unroll
      for (int pass = 0; pass < kPasses; ++pass) {
        copy.copy(stage, pass, w_rows[pass], step * kDepth, width, w_rows[pass]);
        copy.copy(stage + kPlaceBytes, pass, x_rows[pass], step * kDepth, width, x_rows[pass]);
      }
    }
    copies_commit();
  };
  for (int step = 0; step < kStages - 1; ++step) copy_step(step);

  const int lane = threadIdx.x % 32;
  const int warp_place = threadIdx.x / 32 / 2 * 32, warp_token = threadIdx.x / 32 % 2 * 64;
  float sum[2][8][4] = {};
  for (int step = 0; step < steps; ++step) {
    copies_wait<kStages - 2>();
    __syncthreads();
    copy_step(step + kStages - 1);
    const uint32_t w = ring + step % kStages * kStageBytes;
    const uint32_t x = w + kPlaceBytes;
#pragma unroll
    for (int k = 0; k < kDepth / 16; ++k) {
      uint32_t a[2][4];
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        load_matrices(a[m], w + tile_offset(kPlaces, warp_place + lane % 16, k * 2 + lane / 16) + m * kRows16);
      }
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        uint32_t b[4];
        load_matrices(b, x + tile_offset(kTokens, warp_token + lane / 16 * 8 + lane % 8, k * 2 + lane / 8 % 2) +
                             n * kRows16);
#pragma unroll
        for (int m = 0; m < 2; ++m) {
          multiply_add(sum[m][2 * n], a[m], b[0], b[1]);
          multiply_add(sum[m][2 * n + 1], a[m], b[2], b[3]);
        }
      }
    }
  }
  copies_wait<0>();

  __nv_bfloat16* slab = problem.activations + piece * shape.hidden * shape.group;
  __nv_bfloat16* delta = problem.delta ? problem.delta + piece * problem.lists.capacity * shape.group : nullptr;
  with_activation(problem.activation, [&](auto constant) {
    constexpr int kActivation = decltype(constant)::kValue;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int m = i / 2, half = i % 2;
      const int place = warp_place + m * 16 + half * 8 + lane / 4;
      if (place >= places) continue;
      const int64_t neuron = list.column(static_cast<int32_t>(first_place + place));
      const float bias = problem.b1.at(neuron);
#pragma unroll
      for (int n = 0; n < 8; ++n) {
        const int64_t token = first_token + warp_token + n * 8 + lane % 4 * 2;
        if (token >= shape.group) continue;
        const float low = token < tokens ? activate<kActivation>(sum[m][n][2 * half] + bias) : 0.0f;
        const float high = token + 1 < tokens ? activate<kActivation>(sum[m][n][2 * half + 1] + bias) : 0.0f;
        uint32_t* kept = reinterpret_cast<uint32_t*>(slab + neuron * shape.group + token);
        if (delta) {
          const float2 old = unpack_bf16(*kept);
          *reinterpret_cast<uint32_t*>(delta + (first_place + place) * shape.group + token) =
              pack_bf16(low - old.x, high - old.y);
        }
        *kept = pack_bf16(low, high);
      }
    }
  });
}

}  // namespace

bool first_layer_mma_fits(const Problem& problem) {
  return problem.shape.group % 8 == 0 && problem.shape.width % 8 == 0 && problem.shape.width <= INT32_MAX - kDepth &&
         reinterpret_cast<uintptr_t>(problem.x) % 16 == 0 && problem.x_batch % 8 == 0 && problem.x_row % 8 == 0 &&
         reinterpret_cast<uintptr_t>(problem.w1) % 16 == 0 && problem.w1_row % 8 == 0 &&
         reinterpret_cast<uintptr_t>(problem.activations) % 16 == 0 &&
         reinterpret_cast<uintptr_t>(problem.delta) % 16 == 0;
}

cudaError_t first_layer_mma(const Problem& problem, cudaStream_t stream) {
  const MlpShape& shape = problem.shape;
  const int64_t token_tiles = (shape.group + kTokens - 1) / kTokens;
  const int64_t places = problem.lists.counts ? problem.lists.capacity : shape.hidden;
  const int64_t blocks = (places + kPlaces - 1) / kPlaces * shape.batch * shape.groups() * token_tiles;
  if (blocks > INT32_MAX) return cudaErrorInvalidConfiguration;
  if (blocks == 0) return cudaSuccess;
  constexpr int kBytes = kStages * kStageBytes;
  const cudaError_t error =
      cudaFuncSetAttribute(first_layer_mma_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  if (error != cudaSuccess) return error;
  first_layer_mma_kernel<<<static_cast<unsigned>(blocks), kThreads, kBytes, stream>>>(problem, token_tiles);
  return cudaGetLastError();
}

}  // namespace tamias
