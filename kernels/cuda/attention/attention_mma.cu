// Attention on tensor cores from sm_80 on, by mma.sync. A block owns 64 queries of one group and walks the group's
// keys, all or listed, in tiles. Keys and values arrive by asynchronous copies through one ring of tiles, in the order
// in which they are used. A head wider than a tile is summed tile by tile, and blocks share out its output columns:
// each computes the logits anew, which costs less than accumulators that do not fit the registers.
#include "../common/tile_copy_sm80.cuh"
#include "query_result.cuh"

namespace tamias {
namespace {

using namespace sm80;

constexpr int kThreads = 128;
constexpr int kQueries = kThreads / 32 * 16;  // 16 a warp

// kKeys x kWidth: a tile of keys or values, of which kStages are in the ring. kBlocks: that a multiprocessor should
// hold.
template <int kKeys, int kWidth, int kStages, int kBlocks>
struct Layout {
  static constexpr int kTileBytes = kKeys * kWidth * 2;
  static constexpr int kQueryTileBytes = kQueries * kWidth * 2;

  static int parts(int head_dim) { return (head_dim + kWidth - 1) / kWidth; }
  static int shared_bytes(int head_dim) { return parts(head_dim) * kQueryTileBytes + kStages * kTileBytes; }
};

template <int kKeys, int kWidth, int kStages, int kBlocks, bool kBias>
__global__ void __launch_bounds__(kThreads, kBlocks)
    attention_mma_kernel(const __grid_constant__ Attention<__nv_bfloat16> problem, int blocks_per_group, int parts) {
  using L = Layout<kKeys, kWidth, kStages, kBlocks>;
  extern __shared__ __align__(1024) char shared[];
  const AttentionShape& shape = problem.shape;
  const int64_t groups = (shape.queries + problem.group - 1) / problem.group;

  // Neighbouring blocks read the same keys.
  int64_t item = blockIdx.x;
  const int part = static_cast<int>(item % parts);
  item /= parts;
  const int64_t in_group = item % blocks_per_group * kQueries;
  item /= blocks_per_group;
  const int64_t first = item % groups * problem.group + in_group;
  const int64_t head_index = item / groups;
  const int64_t b = head_index / shape.heads, h = head_index % shape.heads;
  const int64_t group_end = min(shape.queries, (item % groups + 1) * problem.group);
  if (first >= group_end) return;
  const int queries = static_cast<int>(min(int64_t{kQueries}, group_end - first));

  const ColumnList list(problem.lists, item, shape.keys);
  int32_t count = list.count;
  if (problem.causal) count = static_cast<int32_t>(min(int64_t{count}, first + queries));
  const int tiles = count / kKeys + (count % kKeys != 0);

  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const uint32_t q_tiles = shared_address(shared);
  const uint32_t ring = q_tiles + parts * L::kQueryTileBytes;

  // The copying side: steps are the parts of a tile of keys, then its values.
  const TileCopy<kThreads, kKeys, kWidth> copy;
  constexpr int kPasses = TileCopy<kThreads, kKeys, kWidth>::kPasses;
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
    const TileCopy<kThreads, kQueries, kWidth> q_copy;
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

  // The computing side. Lane l holds rows l / 4 and l / 4 + 8 of its warp's 16 queries.
  int stage = 0;
  const auto next_tile = [&] {
    copies_wait<kStages - 2>();
    __syncthreads();
    copy_step();
    const uint32_t tile = ring + stage * L::kTileBytes;
    stage = (stage + 1) % kStages;
    return tile;
  };
  const int own_row = warp * 16 + lane / 4;
  const float log2_scale = shape.scale * kLog2E;
  float o[kWidth / 8][4] = {};
  float maximum[2] = {-INFINITY, -INFINITY}, denominator[2] = {0, 0};

  for (int t = 0; t < tiles; ++t) {
    float s[kKeys / 8][4] = {};
    for (int p = 0; p < parts; ++p) {
      const uint32_t tile = next_tile();
      const uint32_t q_tile = q_tiles + p * L::kQueryTileBytes;
#pragma unroll
      for (int k = 0; k < kWidth / 16; ++k) {
        uint32_t a[4];
        load_matrices(a, q_tile + tile_offset(kQueries, warp * 16 + lane % 16, k * 2 + lane / 16));
#pragma unroll
        for (int n = 0; n < kKeys / 16; ++n) {
          uint32_t keys[4];
          load_matrices(keys, tile + tile_offset(kKeys, lane / 16 * 8 + lane % 8, k * 2 + lane / 8 % 2) + n * kRows16);
          multiply_add(s[2 * n], a, keys[0], keys[1]);
          multiply_add(s[2 * n + 1], a, keys[2], keys[3]);
        }
      }
    }

    const int32_t first_key = t * kKeys;
    uint32_t weights[kKeys / 16][4];
    float rescale[2];
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = own_row + half * 8;
      // Columns of the tile that this query sees.
      int seen = count - first_key;
      if (problem.causal) seen = static_cast<int>(min(int64_t{seen}, max(first + row + 1 - first_key, int64_t{0})));
      const float* bias = kBias ? problem.bias + h * problem.bias_head +
                                      (first + min(row, queries - 1)) * problem.bias_query +
                                      first_key * problem.bias_key
                                : nullptr;
      float highest = maximum[half];
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          float& logit = s[n][2 * half + i];
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
            if (n * 8 + lane % 4 * 2 + i >= seen) s[n][2 * half + i] = -INFINITY;
          }
        }
      }
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n) highest = fmaxf(highest, fmaxf(s[n][2 * half], s[n][2 * half + 1]));
      highest = fmaxf(highest, __shfl_xor_sync(~0u, highest, 1));
      highest = fmaxf(highest, __shfl_xor_sync(~0u, highest, 2));
      // Where all is masked so far, -infinity must not be subtracted from itself.
      const float shift = highest == -INFINITY ? 0.0f : highest;
      rescale[half] = exp2_fast(maximum[half] - shift);
      maximum[half] = highest;
      float sum = 0;
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n) {
        const float low = exp2_fast(s[n][2 * half] - shift), high = exp2_fast(s[n][2 * half + 1] - shift);
        sum += low + high;
        weights[n / 2][n % 2 * 2 + half] = pack_bf16(low, high);
      }
      denominator[half] = denominator[half] * rescale[half] + sum;
    }
    if (__any_sync(~0u, rescale[0] != 1 || rescale[1] != 1)) {
#pragma unroll
      for (int n = 0; n < kWidth / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) o[n][i] *= rescale[i / 2];
      }
    }

    const uint32_t tile = next_tile();
#pragma unroll
    for (int k = 0; k < kKeys / 16; ++k) {
#pragma unroll
      for (int n = 0; n < kWidth / 16; ++n) {
        uint32_t values[4];
        load_matrices_transposed(values, tile + tile_offset(kKeys, lane % 16, n * 2 + lane / 16) + k * kRows16);
        multiply_add(o[2 * n], weights[k], values[0], values[1]);
        multiply_add(o[2 * n + 1], weights[k], values[2], values[3]);
      }
    }
  }
  copies_wait<0>();

#pragma unroll
  for (int half = 0; half < 2; ++half) {
    denominator[half] += __shfl_xor_sync(~0u, denominator[half], 1);
    denominator[half] += __shfl_xor_sync(~0u, denominator[half], 2);
    const int row = own_row + half * 8;
    if (row >= queries) continue;
    const QueryResult result = query_result(problem, b, h, first + row, maximum[half], denominator[half]);
    if (problem.lse.data && part == 0 && lane % 4 == 0) *problem.lse.at(b, h, first + row) = result.lse;
    __nv_bfloat16* out = problem.out.at(b, h, first + row);
    const __nv_bfloat16* cache = problem.cache.at(b, h, first + row);
#pragma unroll
    for (int n = 0; n < kWidth / 8; ++n) {
      const int column = part * kWidth + n * 8 + lane % 4 * 2;
      if (column >= shape.head_dim) continue;
      float low = o[n][2 * half] * result.weight, high = o[n][2 * half + 1] * result.weight;
      if (result.cache_weight != 0) {
        const float2 cached = unpack_bf16(*reinterpret_cast<const uint32_t*>(cache + column));
        low += result.cache_weight * cached.x;
        high += result.cache_weight * cached.y;
      }
      *reinterpret_cast<uint32_t*>(out + column) = pack_bf16(low, high);
    }
  }
}

template <int kKeys, int kWidth, int kStages, int kBlocks>
cudaError_t launch(const Attention<__nv_bfloat16>& problem, cudaStream_t stream) {
  using L = Layout<kKeys, kWidth, kStages, kBlocks>;
  const AttentionShape& shape = problem.shape;
  const int64_t groups = (shape.queries + problem.group - 1) / problem.group;
  const int64_t blocks_per_group = (problem.group + kQueries - 1) / kQueries;
  const int parts = L::parts(shape.head_dim);
  const int64_t blocks = int64_t{shape.batch} * shape.heads * groups * blocks_per_group * parts;
  if (blocks > INT32_MAX) return cudaErrorInvalidConfiguration;
  const auto kernel = problem.bias ? attention_mma_kernel<kKeys, kWidth, kStages, kBlocks, true>
                                   : attention_mma_kernel<kKeys, kWidth, kStages, kBlocks, false>;
  const int bytes = L::shared_bytes(shape.head_dim);
  const cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
  if (error != cudaSuccess) return error;
  kernel<<<static_cast<unsigned>(blocks), kThreads, bytes, stream>>>(problem, static_cast<int>(blocks_per_group),
                                                                       parts);
  return cudaGetLastError();
}

}  // namespace

// 512: what leaves room for the smaller ring in the 99 KB of shared memory of sm_86 and sm_89.
bool attention_mma_fits(const Attention<__nv_bfloat16>& problem) {
  return problem.shape.head_dim % 8 == 0 && problem.shape.head_dim <= 512 && aligned16(problem.q) &&
         aligned16(problem.k) && aligned16(problem.v) && aligned16(problem.out) && aligned16(problem.cache);
}

cudaError_t attention_mma(const Attention<__nv_bfloat16>& problem, cudaStream_t stream) {
  const int head_dim = problem.shape.head_dim;
  if (head_dim <= 64) return launch<64, 64, 4, 4>(problem, stream);
  if (head_dim <= 128) return launch<64, 128, 3, 3>(problem, stream);
  int device = 0, room = 0;
  cudaError_t error = cudaGetDevice(&device);
  if (error == cudaSuccess) error = cudaDeviceGetAttribute(&room, cudaDevAttrMaxSharedMemoryPerBlockOptin, device);
  if (error != cudaSuccess) return error;
  if (Layout<64, 128, 3, 2>::shared_bytes(head_dim) <= room) return launch<64, 128, 3, 2>(problem, stream);
  return launch<32, 128, 4, 1>(problem, stream);
}

}  // namespace tamias
