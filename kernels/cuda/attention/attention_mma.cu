// Attention on tensor cores from sm_80 on, by mma.sync. A block of warps shares the queries of one group, or a part
// of them, and walks the group's keys, all or listed, in tiles. Keys and values arrive by asynchronous copies through one ring of tiles, in
// the order in which they are used. A head wider than a tile is summed tile by tile, and blocks share out its output
// columns: each computes the logits anew, which costs less than accumulators that do not fit the registers.
#include <algorithm>

#include "../common/tile_copy_sm80.cuh"
#include "query_result.cuh"

namespace tamias {
namespace {

using namespace sm80;

// kRows: times 16 queries of a warp. kKeys x kWidth: a tile of keys or values, of which kStages are in the ring.
// kBlocks: that a multiprocessor should hold.
template <int kWarps, int kRows, int kKeys, int kWidth, int kStages, int kBlocks>
struct Layout {
  static constexpr int kWarpQueries = kRows * 16;
  static constexpr int kQueries = kWarps * kWarpQueries;
  static constexpr int kThreads = kWarps * 32;
  static constexpr int kTileBytes = kKeys * kWidth * 2;
  static constexpr int kQueryTileBytes = kQueries * kWidth * 2;

  static int parts(int head_dim) { return (head_dim + kWidth - 1) / kWidth; }
  static int shared_bytes(int head_dim) { return parts(head_dim) * kQueryTileBytes + kStages * kTileBytes; }
};

template <int kWarps, int kRows, int kKeys, int kWidth, int kStages, int kBlocks, bool kBias>
__global__ void __launch_bounds__(kWarps * 32, kBlocks)
    attention_mma_kernel(const __grid_constant__ Attention<__nv_bfloat16> problem, int blocks_per_group, int parts) {
  using L = Layout<kWarps, kRows, kKeys, kWidth, kStages, kBlocks>;
  extern __shared__ __align__(1024) char shared[];
  const AttentionShape& shape = problem.shape;
  const int64_t groups = (shape.queries + problem.group - 1) / problem.group;

  // Neighbouring blocks read the same keys.
  int64_t item = blockIdx.x;
  const int part = static_cast<int>(item % parts);
  item /= parts;
  const int64_t in_group = item % blocks_per_group * L::kQueries;
  item /= blocks_per_group;
  const int64_t first = item % groups * problem.group + in_group;
  const int64_t head_index = item / groups;
  const int64_t b = head_index / shape.heads, h = head_index % shape.heads;
  const int64_t group_end = min(shape.queries, (item % groups + 1) * problem.group);
  if (first >= group_end) return;
  const int queries = static_cast<int>(min(int64_t{L::kQueries}, group_end - first));

  const ColumnList list(problem.lists, item, shape.keys);
  int32_t count = list.count;
  if (problem.causal) count = static_cast<int32_t>(min(int64_t{count}, first + queries));
  const int tiles = count / kKeys + (count % kKeys != 0);

  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const uint32_t q_tiles = shared_address(shared);
  const uint32_t ring = q_tiles + parts * L::kQueryTileBytes;

  // The copying side: steps are the parts of a tile of keys, then its values.
  const TileCopy<L::kThreads, kKeys, kWidth> copy;
  constexpr int kPasses = TileCopy<L::kThreads, kKeys, kWidth>::kPasses;
  const __nv_bfloat16* k_head = problem.k.at(b, h, 0);
  const __nv_bfloat16* v_head = problem.v.at(b, h, 0);
  int32_t rows[kPasses];  // -1: past the list
  int copied_tile = 0, copied_part = 0, copied_stage = 0;
  const auto read_rows = [&] {
#pragma unroll
    for (int pass = 0; pass < kPasses; ++pass) {
      const int64_t place = int64_t{copied_tile} * kKeys + copy.row_of(pass);
      rows[pass] = place < count ? list.column(static_cast<int32_t>(place)) : -1;
    }
  };
  const auto copy_step = [&] {
    if (copied_tile < tiles) {
      const bool values = copied_part == parts;
      const __nv_bfloat16* from = values ? v_head : k_head;
      const int64_t stride = values ? problem.v.row : problem.k.row;
      const int column = (values ? part : copied_part) * kWidth;
      const uint32_t tile = ring + copied_stage * L::kTileBytes;
#pragma unroll
      for (int pass = 0; pass < kPasses; ++pass) {
        copy.copy(tile, pass, from + max(rows[pass], 0) * stride, column, shape.head_dim, rows[pass] >= 0);
      }
      if (values) {
        copied_part = 0;
        ++copied_tile;
        read_rows();  // one step before they are used
      } else {
        ++copied_part;
      }
      copied_stage = (copied_stage + 1) % kStages;
    }
    copies_commit();
  };

  {
    const TileCopy<L::kThreads, L::kQueries, kWidth> q_copy;
    for (int p = 0; p < parts; ++p) {
#pragma unroll
      for (int pass = 0; pass < decltype(q_copy)::kPasses; ++pass) {
        const int row = q_copy.row_of(pass);
        q_copy.copy(q_tiles + p * L::kQueryTileBytes, pass, problem.q.at(b, h, first + min(row, queries - 1)),
                    p * kWidth, shape.head_dim, row < queries);
      }
    }
  }
  read_rows();
  for (int i = 0; i < kStages - 1; ++i) copy_step();

  // The computing side. Lane l holds rows l / 4 and l / 4 + 8 of each of its warp's tiles of 16 queries.
  int stage = 0;
  const auto next_tile = [&] {
    copies_wait<kStages - 2>();
    __syncthreads();
    copy_step();
    const uint32_t tile = ring + stage * L::kTileBytes;
    stage = (stage + 1) % kStages;
    return tile;
  };
  const int own_row = warp * L::kWarpQueries + lane / 4;
  const float log2_scale = shape.scale * kLog2E;
  float o[kRows][kWidth / 8][4] = {};
  float maximum[kRows][2], denominator[kRows][2] = {};
#pragma unroll
  for (int m = 0; m < kRows; ++m) maximum[m][0] = maximum[m][1] = -INFINITY;

  for (int t = 0; t < tiles; ++t) {
    float s[kRows][kKeys / 8][4] = {};
    for (int p = 0; p < parts; ++p) {
      const uint32_t tile = next_tile();
      const uint32_t q_tile = q_tiles + p * L::kQueryTileBytes;
#pragma unroll
      for (int k = 0; k < kWidth / 16; ++k) {
        uint32_t a[kRows][4];
#pragma unroll
        for (int m = 0; m < kRows; ++m) {
          load_matrices(a[m], q_tile + tile_offset(L::kQueries, warp * L::kWarpQueries + lane % 16, k * 2 + lane / 16) +
                                  m * kRows16);
        }
#pragma unroll
        for (int n = 0; n < kKeys / 16; ++n) {
          uint32_t keys[4];
          load_matrices(keys, tile + tile_offset(kKeys, lane / 16 * 8 + lane % 8, k * 2 + lane / 8 % 2) + n * kRows16);
#pragma unroll
          for (int m = 0; m < kRows; ++m) {
            multiply_add(s[m][2 * n], a[m], keys[0], keys[1]);
            multiply_add(s[m][2 * n + 1], a[m], keys[2], keys[3]);
          }
        }
      }
    }

    const int32_t first_key = t * kKeys;
    uint32_t weights[kRows][kKeys / 16][4];
#pragma unroll
    for (int m = 0; m < kRows; ++m) {
      float rescale[2];
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = own_row + m * 16 + half * 8;
        // Columns of the tile that this query sees.
        int seen = count - first_key;
        if (problem.causal) seen = static_cast<int>(min(int64_t{seen}, max(first + row + 1 - first_key, int64_t{0})));
        const float* bias = kBias ? problem.bias + h * problem.bias_head +
                                        (first + min(row, queries - 1)) * problem.bias_query +
                                        first_key * problem.bias_key
                                  : nullptr;
        float highest = maximum[m][half];
#pragma unroll
        for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
          for (int i = 0; i < 2; ++i) {
            float& logit = s[m][n][2 * half + i];
            const int column = n * 8 + lane % 4 * 2 + i;
            logit *= log2_scale;
            if (kBias && column < seen) logit += bias[column * problem.bias_key] * kLog2E;
          }
        }
        if (seen < kKeys) {
#pragma unroll
          for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
            for (int i = 0; i < 2; ++i) {
              if (n * 8 + lane % 4 * 2 + i >= seen) s[m][n][2 * half + i] = -INFINITY;
            }
          }
        }
#pragma unroll
        for (int n = 0; n < kKeys / 8; ++n) highest = fmaxf(highest, fmaxf(s[m][n][2 * half], s[m][n][2 * half + 1]));
        highest = fmaxf(highest, __shfl_xor_sync(~0u, highest, 1));
        highest = fmaxf(highest, __shfl_xor_sync(~0u, highest, 2));
        // Where all is masked so far, -infinity must not be subtracted from itself.
        const float shift = highest == -INFINITY ? 0.0f : highest;
        rescale[half] = exp2_fast(maximum[m][half] - shift);
        maximum[m][half] = highest;
        float sum = 0;
#pragma unroll
        for (int n = 0; n < kKeys / 8; ++n) {
          const float low = exp2_fast(s[m][n][2 * half] - shift), high = exp2_fast(s[m][n][2 * half + 1] - shift);
          sum += low + high;
          weights[m][n / 2][n % 2 * 2 + half] = pack_bf16(low, high);
        }
        denominator[m][half] = denominator[m][half] * rescale[half] + sum;
      }
      if (__any_sync(~0u, rescale[0] != 1 || rescale[1] != 1)) {
#pragma unroll
        for (int n = 0; n < kWidth / 8; ++n) {
#pragma unroll
          for (int i = 0; i < 4; ++i) o[m][n][i] *= rescale[i / 2];
        }
      }
    }

    const uint32_t tile = next_tile();
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
#pragma unroll
      for (int n = 0; n < kWidth / 16; ++n) {
        uint32_t values[4];
        load_matrices_transposed(values, tile + tile_offset(kKeys, lane % 16, n * 2 + lane / 16) + k * kRows16);
#pragma unroll
        for (int m = 0; m < kRows; ++m) {
          multiply_add(o[m][2 * n], weights[m][k], values[0], values[1]);
          multiply_add(o[m][2 * n + 1], weights[m][k], values[2], values[3]);
        }
      }
    }
  }
  copies_wait<0>();

#pragma unroll
  for (int i = 0; i < 2 * kRows; ++i) {
    const int m = i / 2, half = i % 2;
    denominator[m][half] += __shfl_xor_sync(~0u, denominator[m][half], 1);
    denominator[m][half] += __shfl_xor_sync(~0u, denominator[m][half], 2);
    const int row = own_row + m * 16 + half * 8;
    if (row >= queries) continue;
    const QueryResult result = query_result(problem, b, h, first + row, maximum[m][half], denominator[m][half]);
    if (problem.lse.data && part == 0 && lane % 4 == 0) *problem.lse.at(b, h, first + row) = result.lse;
    __nv_bfloat16* out = problem.out.at(b, h, first + row);
    const __nv_bfloat16* cache = problem.cache.at(b, h, first + row);
#pragma unroll
    for (int n = 0; n < kWidth / 8; ++n) {
      const int column = part * kWidth + n * 8 + lane % 4 * 2;
      if (column >= shape.head_dim) continue;
      float low = o[m][n][2 * half] * result.weight, high = o[m][n][2 * half + 1] * result.weight;
      if (result.cache_weight != 0) {
        const float2 cached = unpack_bf16(*reinterpret_cast<const uint32_t*>(cache + column));
        low += result.cache_weight * cached.x;
        high += result.cache_weight * cached.y;
      }
      *reinterpret_cast<uint32_t*>(out + column) = pack_bf16(low, high);
    }
  }
}

template <int kWarps, int kRows, int kKeys, int kWidth, int kStages, int kBlocks>
cudaError_t launch(const Attention<__nv_bfloat16>& problem, cudaStream_t stream) {
  using L = Layout<kWarps, kRows, kKeys, kWidth, kStages, kBlocks>;
  const AttentionShape& shape = problem.shape;
  const int64_t groups = (shape.queries + problem.group - 1) / problem.group;
  const int64_t blocks_per_group = (problem.group + L::kQueries - 1) / L::kQueries;
  const int parts = L::parts(shape.head_dim);
  const int64_t blocks = int64_t{shape.batch} * shape.heads * groups * blocks_per_group * parts;
  if (blocks > INT32_MAX) return cudaErrorInvalidConfiguration;
  const auto kernel = problem.bias ? attention_mma_kernel<kWarps, kRows, kKeys, kWidth, kStages, kBlocks, true>
                                   : attention_mma_kernel<kWarps, kRows, kKeys, kWidth, kStages, kBlocks, false>;
  const int bytes = L::shared_bytes(shape.head_dim);
  const cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (error != cudaSuccess) return error;
  kernel<<<static_cast<unsigned>(blocks), L::kThreads, bytes, stream>>>(problem, static_cast<int>(blocks_per_group),
                                                                       parts);
  return cudaGetLastError();
}

template <class T>
bool aligned(const HeadRows<T>& rows) {
  return reinterpret_cast<uintptr_t>(rows.data) % 16 == 0 && rows.batch % 8 == 0 && rows.head % 8 == 0 &&
         rows.row % 8 == 0;
}

}  // namespace

// 512: what leaves room for the ring in the 99 KB of shared memory of sm_86 and sm_89.
bool attention_mma_fits(const Attention<__nv_bfloat16>& problem) {
  return problem.shape.head_dim % 8 == 0 && problem.shape.head_dim <= 512 && aligned(problem.q) &&
         aligned(problem.k) && aligned(problem.v) && aligned(problem.out) && aligned(problem.cache);
}

cudaError_t attention_mma(const Attention<__nv_bfloat16>& problem, cudaStream_t stream) {
  const bool small = problem.group <= 64;
  if (problem.shape.head_dim > 128) return launch<4, 1, 32, 128, 4, 1>(problem, stream);
  if (problem.shape.head_dim > 64) {
    return small ? launch<4, 1, 64, 128, 3, 2>(problem, stream) : launch<8, 1, 64, 128, 4, 1>(problem, stream);
  }
  return small ? launch<4, 1, 64, 64, 4, 2>(problem, stream) : launch<8, 1, 64, 64, 4, 1>(problem, stream);
}

}  // namespace tamias
