// Column sums on tensor cores from sm_80 on, from a finished attention's log-sum-exps. A block owns 128 keys, 16 a
// warp, as the rows of its products, so that a sum over queries is a sum along a row: it stays in a register until the
// end.
#include "../common/tile_copy_sm80.cuh"
#include "query_result.cuh"

namespace tamias {
namespace {

using namespace sm80;

constexpr int kWarps = 8;
constexpr int kThreads = kWarps * 32;
constexpr int kKeys = kWarps * 16;
constexpr int kQueries = 64;  // of a tile
constexpr int kStages = 3;

template <int kWidth>
constexpr int key_bytes = kKeys * kWidth * 2;
template <int kWidth>
constexpr int query_bytes = kQueries * kWidth * 2;

template <int kWidth>
__global__ void __launch_bounds__(kThreads)
    column_sums_mma_kernel(const __grid_constant__ ColumnSums<__nv_bfloat16> problem, int blocks_per_group) {
  extern __shared__ __align__(1024) char shared[];
  const AttentionShape& shape = problem.shape;
  const int64_t groups = (shape.queries + problem.group - 1) / problem.group;
  const int64_t item = blockIdx.x / blocks_per_group;
  const int64_t first_key = int64_t{blockIdx.x % blocks_per_group} * kKeys;
  const int64_t b = item / groups / shape.heads, h = item / groups % shape.heads;
  const int64_t first = item % groups * problem.group;
  const int queries = static_cast<int>(min(problem.group, shape.queries - first));
  const int tiles = (queries + kQueries - 1) / kQueries;
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;

  const uint32_t key_tile = shared_address(shared);
  const uint32_t ring = key_tile + key_bytes<kWidth>;
  float* lse = reinterpret_cast<float*>(shared + key_bytes<kWidth> + kStages * query_bytes<kWidth>);  // in log2

  {
    const TileCopy<kThreads, kKeys, kWidth> copy;
#pragma unroll
    for (int pass = 0; pass < decltype(copy)::kPasses; ++pass) {
      const int64_t key = first_key + copy.row_of(pass);
      copy.copy(key_tile, pass, problem.k.at(b, h, min(key, shape.keys - 1)), 0, shape.head_dim, key < shape.keys);
    }
  }
  const TileCopy<kThreads, kQueries, kWidth> copy;
  const auto copy_queries = [&](int tile) {
    if (tile < tiles) {
#pragma unroll
      for (int pass = 0; pass < decltype(copy)::kPasses; ++pass) {
        const int row = tile * kQueries + copy.row_of(pass);
        copy.copy(ring + tile % kStages * query_bytes<kWidth>, pass,
                  problem.q.at(b, h, first + min(row, queries - 1)), 0, shape.head_dim, row < queries);
      }
    }
    copies_commit();
  };
  for (int tile = 0; tile < kStages - 1; ++tile) copy_queries(tile);
  for (int i = threadIdx.x; i < tiles * kQueries; i += kThreads) {
    lse[i] = i < queries ? *problem.lse.at(b, h, first + i) * kLog2E : INFINITY;
  }

  const float log2_scale = shape.scale * kLog2E;
  uint32_t keys[kWidth / 16][4];
  float sums[2] = {0, 0};  // of keys lane / 4 and lane / 4 + 8 of the warp's 16
  for (int tile = 0; tile < tiles; ++tile) {
    copies_wait<kStages - 2>();
    __syncthreads();
    copy_queries(tile + kStages - 1);
    if (tile == 0) {
#pragma unroll
      for (int k = 0; k < kWidth / 16; ++k) {
        load_matrices(keys[k], key_tile + tile_offset(kKeys, warp * 16 + lane % 16, k * 2 + lane / 16));
      }
    }
    const uint32_t query_tile = ring + tile % kStages * query_bytes<kWidth>;
    float s[kQueries / 8][4] = {};
#pragma unroll
    for (int k = 0; k < kWidth / 16; ++k) {
#pragma unroll
      for (int n = 0; n < kQueries / 16; ++n) {
        uint32_t q[4];
        load_matrices(q, query_tile + tile_offset(kQueries, lane / 16 * 8 + lane % 8, k * 2 + lane / 8 % 2) +
                             n * kRows16);
        multiply_add(s[2 * n], keys[k], q[0], q[1]);
        multiply_add(s[2 * n + 1], keys[k], q[2], q[3]);
      }
    }
#pragma unroll
    for (int n = 0; n < kQueries / 8; ++n) {
      const float2 shift = *reinterpret_cast<const float2*>(lse + tile * kQueries + n * 8 + lane % 4 * 2);
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        // Another step's log-sum-exp may be far too low: bounded, as a sum of infinities would rank nothing.
        sums[i / 2] += exp2_fast(fminf(s[n][i] * log2_scale - (i % 2 ? shift.y : shift.x), 127.0f));
      }
    }
  }
  copies_wait<0>();

#pragma unroll
  for (int half = 0; half < 2; ++half) {
    sums[half] += __shfl_xor_sync(~0u, sums[half], 1);
    sums[half] += __shfl_xor_sync(~0u, sums[half], 2);
    const int64_t key = first_key + warp * 16 + lane / 4 + 8 * half;
    if (lane % 4 == 0 && key < shape.keys) problem.sums[item * shape.keys + key] = sums[half];
  }
}

template <int kWidth>
cudaError_t launch(const ColumnSums<__nv_bfloat16>& problem, cudaStream_t stream) {
  const AttentionShape& shape = problem.shape;
  const int64_t groups = (shape.queries + problem.group - 1) / problem.group;
  const int64_t blocks_per_group = (shape.keys + kKeys - 1) / kKeys;
  const int64_t blocks = int64_t{shape.batch} * shape.heads * groups * blocks_per_group;
  if (blocks > INT32_MAX) return cudaErrorInvalidConfiguration;
  if (blocks == 0) return cudaSuccess;
  const int64_t group = (problem.group + kQueries - 1) / kQueries * kQueries;
  const int bytes = key_bytes<kWidth> + kStages * query_bytes<kWidth> + static_cast<int>(group * sizeof(float));
  const cudaError_t error =
      cudaFuncSetAttribute(column_sums_mma_kernel<kWidth>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (error != cudaSuccess) return error;
  column_sums_mma_kernel<kWidth>
      <<<static_cast<unsigned>(blocks), kThreads, bytes, stream>>>(problem, static_cast<int>(blocks_per_group));
  return cudaGetLastError();
}

}  // namespace

bool column_sums_mma_fits(const ColumnSums<__nv_bfloat16>& problem) {
  return problem.shape.head_dim % 8 == 0 && problem.shape.head_dim <= 128 && problem.group <= 4096 &&
         aligned16(problem.q) && aligned16(problem.k);
}

cudaError_t column_sums_mma(const ColumnSums<__nv_bfloat16>& problem, cudaStream_t stream) {
  return problem.shape.head_dim > 64 ? launch<128>(problem, stream) : launch<64>(problem, stream);
}

}  // namespace tamias
