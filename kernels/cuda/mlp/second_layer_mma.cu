// The second layer on tensor cores from sm_80 on, by mma.sync. A block owns 128 tokens of a group and 128 output
// columns. Both operands lie with the sum's axis outermost, so both are transposed on the way from shared memory.
#include "../common/tile_copy_sm80.cuh"
#include "mlp_any.h"

namespace tamias {
namespace {

using namespace sm80;
using Problem = SecondLayerAny<__nv_bfloat16, __nv_bfloat16>;

constexpr int kThreads = 256;  // 4 x 2 warps of 32 tokens x 64 columns
constexpr int kTokens = 128;
constexpr int kColumns = 128;
constexpr int kDepth = 64;
constexpr int kStages = 3;
constexpr int kTileBytes = kDepth * 128 * 2;
constexpr int kStageBytes = 2 * kTileBytes;

__global__ void __launch_bounds__(kThreads, 2)
    second_layer_mma_kernel(const __grid_constant__ Problem problem, int64_t token_tiles) {
  extern __shared__ __align__(1024) char shared[];
  const MlpShape& shape = problem.shape;
  const int64_t groups = shape.groups();
  const int64_t first_token = blockIdx.x % token_tiles * kTokens;
  const int64_t item = blockIdx.x / token_tiles;
  const int64_t piece = item % (shape.batch * groups);
  const int64_t first_column = item / (shape.batch * groups) * kColumns;
  const int64_t group_start = piece % groups * shape.group;
  const int64_t tokens = min(shape.group, shape.tokens - group_start);
  if (first_token >= tokens) return;
  const ColumnList list(problem.lists, piece, shape.hidden);
  const bool dense = !problem.lists.counts;
  const __nv_bfloat16* slab = problem.slabs +
                              piece * (dense ? shape.hidden : problem.lists.capacity) * shape.group + first_token;
  const int token_room = static_cast<int>(min(int64_t{kTokens}, shape.group - first_token));
  const int column_room = static_cast<int>(min(int64_t{kColumns}, shape.width - first_column));
  const int steps = (list.count + kDepth - 1) / kDepth;

  const uint32_t ring = shared_address(shared);
  const TileCopy<kThreads, kDepth, 128> copy;
  constexpr int kPasses = decltype(copy)::kPasses;
  const __nv_bfloat16* own_slab = slab + copy.row * shape.group;
  const __nv_bfloat16* own_w = problem.w2t + first_column;
  const int64_t slab_pass = copy.kRowsAtOnce * shape.group;
  int32_t neurons[kPasses];  // of the step that is copied next; -1: past the list
  const auto read_neurons = [&](int step) {
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      const int32_t place = step * kDepth + copy.row_of(pass);
      neurons[pass] = place < list.count ? list.column(place) : -1;
    }
  };
  const auto copy_step = [&](int step) {
    if (step < steps) {
      const uint32_t stage = ring + step % kStages * kStageBytes;
#pragma unroll
      for (int pass = 0; pass < kPasses; ++pass) {
        const bool valid = neurons[pass] >= 0;
        copy.copy(stage, pass, own_slab, 0, token_room, valid);
        copy.copy(stage + kTileBytes, pass, own_w + max(neurons[pass], 0) * problem.w2t_row, 0, column_room, valid);
        own_slab += slab_pass;
      }
      read_neurons(step + 1);
    }
    copies_commit();
  };
  read_neurons(0);
  for (int step = 0; step < kStages - 1; ++step) copy_step(step);

  const int lane = threadIdx.x % 32;
  const int warp_token = threadIdx.x / 32 / 2 * 32, warp_column = threadIdx.x / 32 % 2 * 64;
  float sum[2][8][4] = {};
  for (int step = 0; step < steps; ++step) {
    copies_wait<kStages - 2>();
    __syncthreads();
    copy_step(step + kStages - 1);
    const uint32_t activations = ring + step % kStages * kStageBytes;
    const uint32_t w = activations + kTileBytes;
#pragma unroll
    for (int k = 0; k < kDepth / 16; ++k) {
      uint32_t a[2][4];
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        load_matrices_transposed(a[m], activations + tile_offset(kDepth, lane / 16 * 8 + lane % 8,
                                                                 (warp_token + m * 16) / 8 + lane / 8 % 2) +
                                           k * kRows16);
      }
#pragma unroll
      for (int n = 0; n < 4; ++n) {
        uint32_t b[4];
        load_matrices_transposed(b, w + tile_offset(kDepth, lane % 16, warp_column / 8 + n * 2 + lane / 16) +
                                        k * kRows16);
#pragma unroll
        for (int m = 0; m < 2; ++m) {
          multiply_add(sum[m][2 * n], a[m], b[0], b[1]);
          multiply_add(sum[m][2 * n + 1], a[m], b[2], b[3]);
        }
      }
    }
  }
  copies_wait<0>();

#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int m = i / 2, half = i % 2;
    const int64_t token = first_token + warp_token + m * 16 + half * 8 + lane / 4;
    if (token >= tokens) continue;
    const int64_t row = piece / groups * problem.out_batch + (group_start + token) * problem.out_row;
#pragma unroll
    for (int n = 0; n < 8; ++n) {
      const int64_t column = first_column + warp_column + n * 8 + lane % 4 * 2;
      if (column >= shape.width) continue;
      float2 result = make_float2(sum[m][n][2 * half], sum[m][n][2 * half + 1]);
      if (dense) {
        result.x += problem.b2.at(column);
        result.y += problem.b2.at(column + 1);
      }
      if (problem.short_out) {
        *reinterpret_cast<uint32_t*>(problem.short_out + row + column) = pack_bf16(result.x, result.y);
        continue;
      }
      float2* out = reinterpret_cast<float2*>(problem.out + row + column);
      if (!dense) {
        result.x += out->x;
        result.y += out->y;
      }
      *out = result;
    }
  }
}

}  // namespace

bool second_layer_mma_fits(const Problem& problem) {
  return problem.shape.group % 8 == 0 && problem.shape.width % 8 == 0 &&
         reinterpret_cast<uintptr_t>(problem.slabs) % 16 == 0 &&
         reinterpret_cast<uintptr_t>(problem.w2t) % 16 == 0 && problem.w2t_row % 8 == 0 &&
         reinterpret_cast<uintptr_t>(problem.out) % 8 == 0 && reinterpret_cast<uintptr_t>(problem.short_out) % 4 == 0 &&
         problem.out_batch % 2 == 0 && problem.out_row % 2 == 0;
}

cudaError_t second_layer_mma(const Problem& problem, cudaStream_t stream) {
  const MlpShape& shape = problem.shape;
  const int64_t token_tiles = (shape.group + kTokens - 1) / kTokens;
  const int64_t blocks = (shape.width + kColumns - 1) / kColumns * shape.batch * shape.groups() * token_tiles;
  if (blocks > INT32_MAX) return cudaErrorInvalidConfiguration;
  if (blocks == 0) return cudaSuccess;
  constexpr int kBytes = kStages * kStageBytes;
  const cudaError_t error =
      cudaFuncSetAttribute(second_layer_mma_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
  if (error != cudaSuccess) return error;
  second_layer_mma_kernel<<<static_cast<unsigned>(blocks), kThreads, kBytes, stream>>>(problem, token_tiles);
  return cudaGetLastError();
}

}  // namespace tamias
