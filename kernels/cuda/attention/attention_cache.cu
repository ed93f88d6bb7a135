// attention_cache: what the chosen keys do not explain, kept at a refresh.
#include "../common/element.cuh"
#include "common/dispatch.h"
#include "head_rows.h"
#include "runtime/check.h"

namespace tamias {
namespace {

constexpr int kThreads = 256;
constexpr int kLanes = 16;  // that share a row
constexpr int kVector = 8;  // elements of a lane's turn

template <class T>
struct CacheProblem {
  int64_t batch, heads, queries, head_dim;
  HeadRows<const T> o, o_chosen;
  HeadRows<T> cache;
  HeadRows<const float> lse, lse_chosen;
  HeadRows<float> cache_lse;
  bool merge;
  float beta;
};

// cache = o_weight * o + chosen_weight * o_chosen, and cache_lse.
struct Rest {
  float o_weight;
  float chosen_weight;
  float lse;
};

__device__ Rest rest_of(float lse, float lse_chosen) {
  if (lse_chosen == -INFINITY && lse != -INFINITY) return {1, 0, lse};
  const float difference = lse_chosen - lse;
  // Where exp(difference) rounds to 1, where nothing at all was seen (both -infinity), and where the chosen part seems
  // larger than the whole by rounding.
  if (lse == -INFINITY || difference >= -0x1p-25f) return {0, 0, -INFINITY};
  const float rest = -expm1f(difference);
  return {1 / rest, -expf(difference) / rest, lse + logf(rest)};
}

template <class T>
struct alignas(16) Vector {
  T at[kVector];
};

template <class T, bool kAligned>
__global__ void __launch_bounds__(kThreads) attention_cache_kernel(const __grid_constant__ CacheProblem<T> problem) {
  const int lane = threadIdx.x % kLanes;
  const int64_t row = (int64_t{blockIdx.x} * kThreads + threadIdx.x) / kLanes;
  const bool live = row < problem.batch * problem.heads * problem.queries;
  const int64_t b = row / problem.queries / problem.heads;
  const int64_t h = row / problem.queries % problem.heads;
  const int64_t i = row % problem.queries;
  Rest rest = {1, -problem.beta, 0};
  if (live && problem.merge) rest = rest_of(*problem.lse.at(b, h, i), *problem.lse_chosen.at(b, h, i));
  __syncwarp();  // cache_lse may be lse_chosen
  if (!live) return;
  if (problem.merge && lane == 0) *problem.cache_lse.at(b, h, i) = rest.lse;
  const T* o = problem.o.at(b, h, i);
  const T* chosen = problem.o_chosen.at(b, h, i);
  T* cache = problem.cache.at(b, h, i);
  const auto combine = [&](T whole, T part) {
    return from_float<T>(rest.o_weight * to_float(whole) + rest.chosen_weight * to_float(part));
  };
  if constexpr (kAligned) {
    for (int64_t d = lane * kVector; d < problem.head_dim; d += kLanes * kVector) {
      const Vector<T> whole = *reinterpret_cast<const Vector<T>*>(o + d);
      const Vector<T> part = *reinterpret_cast<const Vector<T>*>(chosen + d);
      Vector<T> result;
#pragma unroll
      for (int j = 0; j < kVector; ++j) result.at[j] = combine(whole.at[j], part.at[j]);
      *reinterpret_cast<Vector<T>*>(cache + d) = result;
    }
  } else {
    for (int64_t d = lane; d < problem.head_dim; d += kLanes) cache[d] = combine(o[d], chosen[d]);
  }
}

template <class T>
cudaError_t attention_cache(const CacheProblem<T>& problem, cudaStream_t stream) {
  const int64_t rows = problem.batch * problem.heads * problem.queries;
  const int64_t blocks = (rows * kLanes + kThreads - 1) / kThreads;
  if (blocks > INT32_MAX) return cudaErrorInvalidConfiguration;
  const bool vectors = problem.head_dim % kVector == 0 && aligned16(problem.o) && aligned16(problem.o_chosen) &&
                       aligned16(problem.cache);
  const auto kernel = vectors ? attention_cache_kernel<T, true> : attention_cache_kernel<T, false>;
  kernel<<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(problem);
  return cudaGetLastError();
}

}  // namespace
}  // namespace tamias

using namespace tamias;

extern "C" int32_t tamias_attention_cache(uint64_t stream, int32_t rule, float beta, const tamias_tensor* o,
                                          const tamias_tensor* lse, const tamias_tensor* o_chosen,
                                          const tamias_tensor* lse_chosen, const tamias_tensor* cache,
                                          const tamias_tensor* cache_lse) {
  return run_op("attention_cache", stream, [&](Op& op) {
    const AttentionCacheArguments arguments(op, rule, beta, o, lse, o_chosen, lse_chosen, cache, cache_lse);
    if (arguments.cache.empty()) return;
    with_type(arguments.o.dtype, [&](auto type) {
      using T = typename decltype(type)::Type;
      CacheProblem<T> problem = {};
      problem.batch = arguments.o.size(0);
      problem.heads = arguments.o.size(1);
      problem.queries = arguments.o.size(2);
      problem.head_dim = arguments.o.size(3);
      problem.o = head_rows<const T>(arguments.o);
      problem.o_chosen = head_rows<const T>(arguments.o_chosen);
      problem.cache = head_rows<T>(arguments.cache);
      problem.merge = arguments.merges();
      problem.beta = beta;
      if (problem.merge) {
        problem.lse = head_rows<const float>(arguments.lse);
        problem.lse_chosen = head_rows<const float>(arguments.lse_chosen);
        problem.cache_lse = head_rows<float>(arguments.cache_lse);
      }
      op.submit([=](const Run& run) { check_cuda(attention_cache(problem, run.stream), "attention cache"); });
    });
  });
}
