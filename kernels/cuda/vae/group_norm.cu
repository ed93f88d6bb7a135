// Statistics of pieces of each group, exact about the piece's own mean, then merged; then one pass that normalises.
#include <algorithm>

#include "../common/pack.cuh"
#include "../dense/finish.cuh"
#include "picture.h"

namespace tamias {
namespace {

constexpr int kThreads = 256;
constexpr int kElements = 32;  // of a piece, a thread
constexpr int64_t kPiece = kThreads * kElements;

struct Statistics {
  float count, mean, squares;  // squares: sum of squared distances from the mean
};

__device__ __forceinline__ Statistics merge(const Statistics& a, const Statistics& b) {
  const float count = a.count + b.count;
  if (count == 0) return a;
  const float distance = b.mean - a.mean;
  const float share = b.count / count;
  return {count, a.mean + distance * share, a.squares + b.squares + distance * distance * a.count * share};
}

__device__ Statistics merge_block(Statistics own) {
  __shared__ Statistics parts[kThreads / 32];
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) {
    own = merge(own, {__shfl_down_sync(~0u, own.count, distance), __shfl_down_sync(~0u, own.mean, distance),
                      __shfl_down_sync(~0u, own.squares, distance)});
  }
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = own;
  __syncthreads();
  Statistics all = parts[0];
#pragma unroll
  for (int warp = 1; warp < kThreads / 32; ++warp) all = merge(all, parts[warp]);
  return all;
}

// The moments of the ABI, [batch, groups, 3].
static_assert(sizeof(Statistics) == 3 * sizeof(float));

// kPack elements at a time: divides the length of a group.
template <class T, int kPack>
__global__ void __launch_bounds__(kThreads) piece_kernel(const T* x, int64_t group_elements, int64_t pieces,
                                                         Statistics* statistics) {
  constexpr int kPacks = kElements / kPack;
  const int64_t first = blockIdx.x % pieces * kPiece;
  const T* piece = x + blockIdx.x / pieces * group_elements + first;
  const int count = static_cast<int>(min(kPiece, group_elements - first));
  Pack<T, kPack> pack[kPacks];
  int own = 0;
#pragma unroll
  for (int p = 0; p < kPacks; ++p) {
    const int i = (p * kThreads + static_cast<int>(threadIdx.x)) * kPack;
    if (i >= count) continue;
    pack[p] = load_pack<kPack>(piece + i);
    own += kPack;
  }
  float sum = 0;
#pragma unroll
  for (int p = 0; p < kPacks; ++p) {
#pragma unroll
    for (int k = 0; k < kPack; ++k) sum += p * kPack < own ? to_float(pack[p].value[k]) : 0.0f;
  }
  const float mean = own > 0 ? sum / static_cast<float>(own) : 0.0f;
  float squares = 0;
#pragma unroll
  for (int p = 0; p < kPacks; ++p) {
#pragma unroll
    for (int k = 0; k < kPack; ++k) {
      const float distance = p * kPack < own ? to_float(pack[p].value[k]) - mean : 0.0f;
      squares = fmaf(distance, distance, squares);
    }
  }
  const Statistics all = merge_block({static_cast<float>(own), mean, squares});
  if (threadIdx.x == 0) statistics[blockIdx.x] = all;
}

// Leaves the statistics of each group in its first piece's place.
__global__ void __launch_bounds__(kThreads) merge_kernel(Statistics* statistics, int64_t pieces) {
  Statistics* group = statistics + blockIdx.x * pieces;
  Statistics own = {0, 0, 0};
  for (int64_t piece = threadIdx.x; piece < pieces; piece += kThreads) own = merge(own, group[piece]);
  const Statistics all = merge_block(own);
  if (threadIdx.x == 0) group[0] = all;
}

// Adds the statistics that merge_kernel leaves to those of earlier parts, a thread each group.
__global__ void __launch_bounds__(kThreads) accumulate_kernel(const Statistics* statistics, int64_t pieces,
                                                              int64_t groups, Statistics* moments) {
  const int64_t group = blockIdx.x * int64_t{kThreads} + threadIdx.x;
  if (group < groups) moments[group] = merge(moments[group], statistics[group * pieces]);
}

template <class T, class Out, int kPack>
__global__ void __launch_bounds__(kThreads)
    normalise_kernel(const T* x, Out* out, int64_t pixels, int64_t parts, int channels, int group_channels,
                     int64_t pieces, const Statistics* statistics, float epsilon, Parameter weight, Parameter bias,
                     int activation) {
  const int64_t plane = blockIdx.x / parts;
  const int64_t channel = plane % channels;
  const Statistics& group = statistics[plane / group_channels * pieces];
  const float factor = rsqrtf(group.squares / group.count + epsilon);
  const float gain = factor * (weight.data ? parameter_at(weight, channel) : 1.0f);
  const float shift = parameter_at(bias, channel) - group.mean * gain;
  const int64_t first = blockIdx.x % parts * kPiece;
  const int count = static_cast<int>(min(kPiece, pixels - first));
  const T* from = x + plane * pixels + first;
  Out* to = out + plane * pixels + first;
  with_activation(activation, [&](auto constant) {
#pragma unroll 4
    for (int i = static_cast<int>(threadIdx.x) * kPack; i < count; i += kThreads * kPack) {
      const Pack<T, kPack> given = load_pack<kPack>(from + i);
      Pack<Out, kPack> result;
#pragma unroll
      for (int k = 0; k < kPack; ++k) {
        const float value = fmaf(to_float(given.value[k]), gain, shift);
        result.value[k] = from_float<Out>(activate<decltype(constant)::kValue>(value));
      }
      store_pack(to + i, result);
    }
  });
}

int64_t pieces_of(const View& x, int32_t groups) {
  return (x.size(1) / groups * x.size(2) * x.size(3) + kPiece - 1) / kPiece;
}

// The statistics of each group of x, `pieces_of` apart.
template <class T>
void measure(const View& x, int32_t groups, Statistics* statistics, const Launch& launch) {
  constexpr int kPack = sizeof(T) == 2 ? 8 : 4;
  const int64_t pixels = x.size(2) * x.size(3);
  const int64_t pieces = pieces_of(x, groups);
  const int64_t all_groups = x.size(0) * groups;
  const T* data = x.as<const T>();
  const bool packed = pixels % kPack == 0 && aligned_for_packs<kPack>(data);
  const auto piece = packed ? piece_kernel<T, kPack> : piece_kernel<T, 1>;
  piece<<<static_cast<unsigned>(all_groups * pieces), kThreads, 0, launch.stream>>>(
      data, x.size(1) / groups * pixels, pieces, statistics);
  merge_kernel<<<static_cast<unsigned>(all_groups), kThreads, 0, launch.stream>>>(statistics, pieces);
}

// `pieces`: how far the statistics of two groups are apart.
template <class T, class Out, int kPack>
void normalise(const GroupNormArguments& arguments, const Statistics* statistics, int64_t pieces,
               const Launch& launch) {
  const View& x = arguments.x;
  const int64_t planes = x.size(0) * x.size(1);
  const int64_t pixels = x.size(2) * x.size(3);
  const int64_t parts = (pixels + kPiece - 1) / kPiece;
  normalise_kernel<T, Out, kPack><<<static_cast<unsigned>(planes * parts), kThreads, 0, launch.stream>>>(
      x.as<const T>(), arguments.out.as<Out>(), pixels, parts, static_cast<int>(x.size(1)),
      static_cast<int>(x.size(1) / arguments.groups), pieces, statistics, arguments.epsilon,
      Parameter(arguments.weight), Parameter(arguments.bias), arguments.activation);
}

template <class T, class Out>
cudaError_t group_norm_typed(const GroupNormArguments& arguments, const Launch& launch) {
  constexpr int kPack = sizeof(T) == 2 ? 8 : 4;
  const View& x = arguments.x;
  const Statistics* statistics = reinterpret_cast<const Statistics*>(launch.workspace);
  int64_t pieces = pieces_of(x, arguments.groups);
  if (arguments.moments) {
    statistics = reinterpret_cast<const Statistics*>(arguments.moments.data);
    pieces = 1;
  } else {
    measure<T>(x, arguments.groups, reinterpret_cast<Statistics*>(launch.workspace), launch);
  }
  const bool packed = x.size(2) * x.size(3) % kPack == 0 && aligned_for_packs<kPack>(x.as<const T>()) &&
                      aligned_for_packs<kPack>(arguments.out.as<Out>());
  if (packed) {
    normalise<T, Out, kPack>(arguments, statistics, pieces, launch);
  } else {
    normalise<T, Out, 1>(arguments, statistics, pieces, launch);
  }
  return cudaGetLastError();
}

}  // namespace

int64_t group_moments_scratch_bytes(const View& x, int32_t groups) {
  return x.size(0) * groups * pieces_of(x, groups) * static_cast<int64_t>(sizeof(Statistics));
}

cudaError_t group_norm(const GroupNormArguments& arguments, const Launch& launch) {
  const bool out_bf16 = arguments.out.dtype == TAMIAS_BF16;
  if (arguments.x.dtype == TAMIAS_BF16) {
    return out_bf16 ? group_norm_typed<__nv_bfloat16, __nv_bfloat16>(arguments, launch)
                    : group_norm_typed<__nv_bfloat16, float>(arguments, launch);
  }
  return out_bf16 ? group_norm_typed<float, __nv_bfloat16>(arguments, launch)
                  : group_norm_typed<float, float>(arguments, launch);
}

cudaError_t group_moments(const GroupMomentsArguments& arguments, const Launch& launch) {
  const View& x = arguments.x;
  auto* statistics = reinterpret_cast<Statistics*>(launch.workspace);
  if (x.dtype == TAMIAS_BF16) {
    measure<__nv_bfloat16>(x, arguments.groups, statistics, launch);
  } else {
    measure<float>(x, arguments.groups, statistics, launch);
  }
  const int64_t groups = x.size(0) * arguments.groups;
  accumulate_kernel<<<static_cast<unsigned>((groups + kThreads - 1) / kThreads), kThreads, 0, launch.stream>>>(
      statistics, pieces_of(x, arguments.groups), groups, reinterpret_cast<Statistics*>(arguments.moments.data));
  return cudaGetLastError();
}

}  // namespace tamias
