// Attention in fp32 for everything that the tensor cores' kernels refuse: F32, any head dim, any strides. A block owns
// 64 queries of one group and kWidth output columns; wider heads compute their logits once per kWidth columns.
#include "../common/plain_tile.cuh"
#include "query_result.cuh"

namespace tamias {
namespace {

using namespace plain;

constexpr int kQueries = kTile;
constexpr int kKeys = kTile;

template <int kWidth>
constexpr int kSlice = kKeys * 64 / kWidth;  // keys whose values are staged at once

struct Logits {
  Side q, k;
};

template <int kWidth>
union Stage {
  Logits logits;
  float values[kSlice<kWidth>][kWidth];
};

// Weights are [key][query], four queries a chunk; chunks are exchanged by the key's number, as threads that write one
// column of chunks together hold every fourth key.
__device__ __forceinline__ float4* weight_chunk(float4* weights, int key, int chunk) {
  return weights + key * (kQueries / 4) + (chunk ^ (key / 4 % 8));
}

template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads, 2)
    attention_plain_kernel(const __grid_constant__ Attention<T> problem, int64_t blocks_per_group, int parts) {
  __shared__ __align__(16) Stage<kWidth> stage;
  __shared__ float4 weights[kKeys * kQueries / 4];
  __shared__ int32_t keys[kKeys];
  const AttentionShape& shape = problem.shape;
  const int64_t groups = (shape.queries + problem.group - 1) / problem.group;

  int64_t item = blockIdx.x;
  const int part = static_cast<int>(item % parts);
  item /= parts;
  const int64_t in_group = item % blocks_per_group * kQueries;
  item /= blocks_per_group;
  const int64_t first = item % groups * problem.group + in_group;
  const int64_t b = item / groups / shape.heads, h = item / groups % shape.heads;
  const int64_t group_end = min(shape.queries, (item % groups + 1) * problem.group);
  if (first >= group_end) return;
  const int queries = static_cast<int>(min(int64_t{kQueries}, group_end - first));

  const ColumnList list(problem.lists, item, shape.keys);
  int64_t count = list.count;
  if (problem.causal) count = min(count, first + queries);
  const T* k_head = problem.k.at(b, h, 0);
  const T* v_head = problem.v.at(b, h, 0);
  const int first_column = part * kWidth;
  const int row = own_row(), column = own_column();

  const float log2_scale = shape.scale * kLog2E;
  float o[kWidth / 64][4][4] = {};
  float maximum[4] = {-INFINITY, -INFINITY, -INFINITY, -INFINITY};
  float denominator[4] = {};

  for (int64_t tile = 0; tile < count; tile += kKeys) {
    const int tile_keys = static_cast<int>(min(int64_t{kKeys}, count - tile));
    __syncthreads();
    if (threadIdx.x < tile_keys) keys[threadIdx.x] = list.column(static_cast<int32_t>(tile + threadIdx.x));
    float s[4][4] = {};
    for (int64_t d = 0; d < shape.head_dim; d += kDepth) {
      __syncthreads();
      load_rows(stage.logits.q, [&](int i) { return i < queries ? problem.q.at(b, h, first + i) : nullptr; }, d,
                shape.head_dim);
      load_rows(stage.logits.k, [&](int i) { return i < tile_keys ? k_head + keys[i] * problem.k.row : nullptr; }, d,
                shape.head_dim);
      __syncthreads();
      multiply_add(s, stage.logits.q, stage.logits.k);
    }

#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int64_t query = first + min(row + i, queries - 1);
      float highest = maximum[i];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int64_t key = tile + column + j;
        const bool seen = key < count && !(problem.causal && key > query);
        s[i][j] *= log2_scale;
        if (seen && problem.bias) {
          s[i][j] += problem.bias[h * problem.bias_head + query * problem.bias_query + key * problem.bias_key] * kLog2E;
        }
        if (!seen) s[i][j] = -INFINITY;
        highest = fmaxf(highest, s[i][j]);
      }
      for (int lanes = 1; lanes < 16; lanes *= 2) highest = fmaxf(highest, __shfl_xor_sync(~0u, highest, lanes));
      // Where all is masked so far, -infinity must not be subtracted from itself.
      const float shift = highest == -INFINITY ? 0.0f : highest;
      const float rescale = exp2f(maximum[i] - shift);
      maximum[i] = highest;
      denominator[i] *= rescale;
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        s[i][j] = exp2f(s[i][j] - shift);
        denominator[i] += s[i][j];
      }
#pragma unroll
      for (int c = 0; c < kWidth / 64; ++c) {
#pragma unroll
        for (int j = 0; j < 4; ++j) o[c][i][j] *= rescale;
      }
    }
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      *weight_chunk(weights, column + j, row / 4) = make_float4(s[0][j], s[1][j], s[2][j], s[3][j]);
    }

    for (int slice = 0; slice < tile_keys; slice += kSlice<kWidth>) {
      __syncthreads();
#pragma unroll 4
      for (int i = threadIdx.x; i < kSlice<kWidth> * kWidth; i += kThreads) {
        const int key = slice + i / kWidth, d = first_column + i % kWidth;
        stage.values[i / kWidth][i % kWidth] =
            key < tile_keys && d < shape.head_dim ? to_float(v_head[keys[key] * problem.v.row + d]) : 0.0f;
      }
      __syncthreads();
#pragma unroll 4
      for (int key = 0; key < kSlice<kWidth>; ++key) {
        const float4 weight = *weight_chunk(weights, slice + key, row / 4);
#pragma unroll
        for (int c = 0; c < kWidth / 64; ++c) {
          multiply_add(o[c], weight, *reinterpret_cast<const float4*>(&stage.values[key][c * 64 + column]));
        }
      }
    }
  }

#pragma unroll
  for (int i = 0; i < 4; ++i) {
    for (int lanes = 1; lanes < 16; lanes *= 2) denominator[i] += __shfl_xor_sync(~0u, denominator[i], lanes);
    if (row + i >= queries) continue;
    const int64_t query = first + row + i;
    const QueryResult result = query_result(problem, b, h, query, maximum[i], denominator[i]);
    if (problem.lse.data && part == 0 && column == 0) *problem.lse.at(b, h, query) = result.lse;
    T* out = problem.out.at(b, h, query);
    const T* cache = problem.cache.at(b, h, query);
#pragma unroll
    for (int c = 0; c < kWidth / 64; ++c) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int d = first_column + c * 64 + column + j;
        if (d >= shape.head_dim) continue;
        float value = o[c][i][j] * result.weight;
        if (result.cache_weight != 0) value += result.cache_weight * to_float(cache[d]);
        out[d] = from_float<T>(value);
      }
    }
  }
}

template <class T, int kWidth>
cudaError_t launch(const Attention<T>& problem, cudaStream_t stream) {
  const AttentionShape& shape = problem.shape;
  const int64_t groups = (shape.queries + problem.group - 1) / problem.group;
  const int64_t blocks_per_group = (problem.group + kQueries - 1) / kQueries;
  const int parts = (shape.head_dim + kWidth - 1) / kWidth;
  const int64_t blocks = int64_t{shape.batch} * shape.heads * groups * blocks_per_group * parts;
  if (blocks > INT32_MAX) return cudaErrorInvalidConfiguration;
  attention_plain_kernel<T, kWidth>
      <<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(problem, blocks_per_group, parts);
  return cudaGetLastError();
}

}  // namespace

template <class T>
cudaError_t attention_plain(const Attention<T>& problem, cudaStream_t stream) {
  if (problem.shape.head_dim <= 64) return launch<T, 64>(problem, stream);
  if (problem.shape.head_dim <= 128) return launch<T, 128>(problem, stream);
  return launch<T, 256>(problem, stream);
}

template cudaError_t attention_plain(const Attention<float>& problem, cudaStream_t stream);
template cudaError_t attention_plain(const Attention<__nv_bfloat16>& problem, cudaStream_t stream);

}  // namespace tamias
