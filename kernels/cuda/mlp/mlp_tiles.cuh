// The grid of the kernels that take anything: square tiles of a group's tokens by places of its list (fc1) or columns of
// out (fc2).
#pragma once

#include <climits>

#include "mlp_any.h"

namespace tamias {

// A block's tile. Blocks that run together have neighbouring groups and the same places or columns: they read about the
// same tenth of the weights, as lists ascend.
struct BlockTile {
  int64_t piece;        // group of all batches
  int64_t first_token;  // in the group
  int64_t first_other;  // place or column
  int64_t batch, group_start, tokens;  // of the group

  __device__ __forceinline__ BlockTile(const MlpShape& shape, int64_t token_tiles, int tile) {
    const int64_t groups = shape.groups();
    const int64_t item = blockIdx.x / token_tiles;
    first_token = blockIdx.x % token_tiles * tile;
    piece = item % (shape.batch * groups);
    first_other = item / (shape.batch * groups) * tile;
    batch = piece / groups;
    group_start = piece % groups * shape.group;
    tokens = min(shape.group, shape.tokens - group_start);
  }
};

// `others`: places or columns.
template <class Problem>
cudaError_t launch_tiles(void (*kernel)(Problem, int64_t token_tiles), const Problem& problem, int64_t others, int tile,
                         int threads, int shared_bytes, cudaStream_t stream) {
  const MlpShape& shape = problem.shape;
  const int64_t token_tiles = (shape.group + tile - 1) / tile;
  const int64_t blocks = (others + tile - 1) / tile * shape.batch * shape.groups() * token_tiles;
  if (blocks > INT_MAX) return cudaErrorInvalidConfiguration;
  if (blocks == 0) return cudaSuccess;
  const cudaError_t error =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes);
  if (error != cudaSuccess) return error;
  kernel<<<static_cast<unsigned>(blocks), threads, shared_bytes, stream>>>(problem, token_tiles);
  return cudaGetLastError();
}

}  // namespace tamias
