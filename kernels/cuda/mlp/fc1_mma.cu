// fc1 on tensor cores from sm_80 on, by mma.sync. A block owns 128 places of a group's list and 128 of its
// tokens: neurons are the rows of the product, so that results leave neuron-major, as slabs are.
#include "../common/activation.cuh"
#include "mlp_mma.cuh"

namespace tamias {
namespace {

using namespace mlp_mma;
using Problem = Fc1Any<__nv_bfloat16, __nv_bfloat16>;

__global__ void __launch_bounds__(kThreads, 2)
    fc1_mma_kernel(const __grid_constant__ Problem problem, int64_t token_tiles) {
  extern __shared__ __align__(1024) char shared[];
  const MlpShape& shape = problem.shape;
  const BlockTile block(shape, token_tiles, kTile);
  const int64_t piece = block.piece, first_token = block.first_token, first_place = block.first_other;
  const ColumnList list(problem.lists, piece, shape.hidden);
  if (first_place >= list.count) return;
  const int places = static_cast<int>(min(int64_t{kTile}, list.count - first_place));
  const int64_t tokens = block.tokens;
  const int width = static_cast<int>(shape.width);
  const int steps = (width + kDepth - 1) / kDepth;

  const uint32_t ring = shared_address(shared);
  const TileCopy<kThreads, kTile, kDepth> copy;
  constexpr int kPasses = decltype(copy)::kPasses;
  const __nv_bfloat16* w_rows[kPasses];
  const __nv_bfloat16* x_rows[kPasses];
  const __nv_bfloat16* group_x = problem.x + block.batch * problem.x_batch + block.group_start * problem.x_row;
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
        copy.copy(stage + kOperandBytes, pass, x_rows[pass], step * kDepth, width, x_rows[pass]);
      }
    }
    copies_commit();
  };

  const auto [lane, warp_place, warp_token] = Lane();
  Sums sum = {};
  multiply(
      sum, ring, steps, copy_step,
      [&](uint32_t(&to)[4], uint32_t w, int k, int m) {
        load_matrices(to, w + tile_offset(kTile, warp_place + lane % 16, k * 2 + lane / 16) + m * kRows16);
      },
      [&](uint32_t(&to)[4], uint32_t x, int k, int n) {
        load_matrices(to, x + tile_offset(kTile, warp_token + lane / 16 * 8 + lane % 8, k * 2 + lane / 8 % 2) +
                              n * kRows16);
      });

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

bool fc1_mma_fits(const Problem& problem) {
  return problem.shape.group % 8 == 0 && problem.shape.width % 8 == 0 && problem.shape.width <= INT32_MAX - kDepth &&
         reinterpret_cast<uintptr_t>(problem.x) % 16 == 0 && problem.x_batch % 8 == 0 && problem.x_row % 8 == 0 &&
         reinterpret_cast<uintptr_t>(problem.w1) % 16 == 0 && problem.w1_row % 8 == 0 &&
         reinterpret_cast<uintptr_t>(problem.activations) % 16 == 0 &&
         reinterpret_cast<uintptr_t>(problem.delta) % 16 == 0;
}

cudaError_t fc1_mma(const Problem& problem, cudaStream_t stream) {
  return launch_tiles(fc1_mma_kernel, problem, problem.places(), kTile, kThreads, kSharedBytes, stream);
}

}  // namespace tamias
