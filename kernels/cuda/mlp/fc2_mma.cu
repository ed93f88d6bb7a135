// fc2 on tensor cores from sm_80 on, by mma.sync. A block owns 128 tokens of a group and 128 output
// columns. Both operands lie with the sum's axis outermost, so both are transposed on the way from shared memory.
#include "mlp_mma.cuh"

namespace tamias {
namespace {

using namespace mlp_mma;
using Problem = Fc2Any<__nv_bfloat16, __nv_bfloat16>;

__global__ void __launch_bounds__(kThreads, 2)
    fc2_mma_kernel(const __grid_constant__ Problem problem, int64_t token_tiles) {
  extern __shared__ __align__(1024) char shared[];
  const MlpShape& shape = problem.shape;
  const BlockTile block(shape, token_tiles, kTile);
  const int64_t piece = block.piece, first_token = block.first_token, first_column = block.first_other;
  const int64_t tokens = block.tokens;
  if (first_token >= tokens) return;
  const ColumnList list(problem.lists, piece, shape.hidden);
  const bool dense = !problem.lists.counts;
  const __nv_bfloat16* slab = problem.slabs +
                              piece * (dense ? shape.hidden : problem.lists.capacity) * shape.group + first_token;
  const int token_room = static_cast<int>(min(int64_t{kTile}, shape.group - first_token));
  const int column_room = static_cast<int>(min(int64_t{kTile}, shape.width - first_column));
  const int steps = (list.count + kDepth - 1) / kDepth;

  const uint32_t ring = shared_address(shared);
  const TileCopy<kThreads, kDepth, kTile> copy;
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
        copy.copy(stage + kOperandBytes, pass, own_w + max(neurons[pass], 0) * problem.w2t_row, 0, column_room, valid);
        own_slab += slab_pass;
      }
      read_neurons(step + 1);
    }
    copies_commit();
  };
  read_neurons(0);

  const auto [lane, warp_token, warp_column] = Lane();
  Sums sum = {};
  multiply(
      sum, ring, steps, copy_step,
      [&](uint32_t(&to)[4], uint32_t activations, int k, int m) {
        load_matrices_transposed(to, activations + tile_offset(kDepth, lane / 16 * 8 + lane % 8,
                                                               (warp_token + m * 16) / 8 + lane / 8 % 2) +
                                         k * kRows16);
      },
      [&](uint32_t(&to)[4], uint32_t w, int k, int n) {
        load_matrices_transposed(
            to, w + tile_offset(kDepth, lane % 16, warp_column / 8 + n * 2 + lane / 16) + k * kRows16);
      });

#pragma unroll
  for (int i = 0; i < 4; ++i) {
    const int m = i / 2, half = i % 2;
    const int64_t token = first_token + warp_token + m * 16 + half * 8 + lane / 4;
    if (token >= tokens) continue;
    const int64_t row = block.batch * problem.out_batch + (block.group_start + token) * problem.out_row;
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

bool fc2_mma_fits(const Problem& problem) {
  return problem.shape.group % 8 == 0 && problem.shape.width % 8 == 0 &&
         reinterpret_cast<uintptr_t>(problem.slabs) % 16 == 0 &&
         reinterpret_cast<uintptr_t>(problem.w2t) % 16 == 0 && problem.w2t_row % 8 == 0 &&
         reinterpret_cast<uintptr_t>(problem.out) % 8 == 0 && reinterpret_cast<uintptr_t>(problem.short_out) % 4 == 0 &&
         problem.out_batch % 2 == 0 && problem.out_row % 2 == 0;
}

cudaError_t fc2_mma(const Problem& problem, cudaStream_t stream) {
  return launch_tiles(fc2_mma_kernel, problem, problem.shape.width, kTile, kThreads, kSharedBytes, stream);
}

}  // namespace tamias
