// Statistics of pieces of each group, exact about the piece's own mean, then merged; then one pass that normalises.
#include <algorithm>

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

template <class T>
__global__ void __launch_bounds__(kThreads) piece_kernel(const T* x, int64_t group_elements, int64_t pieces,
                                                         Statistics* statistics) {
  const int64_t piece = blockIdx.x % pieces;
  const T* group = x + blockIdx.x / pieces * group_elements;
  const int64_t first = piece * kPiece;
  const int64_t count = min(kPiece, group_elements - first);
  float value[kElements];
  float sum = 0;
#pragma unroll
  for (int e = 0; e < kElements; ++e) {
    const int64_t i = e * kThreads + threadIdx.x;
    value[e] = i < count ? to_float(group[first + i]) : 0.0f;
    sum += value[e];
  }
  const int64_t whole = count / kThreads;
  const float own_count = static_cast<float>(whole + (threadIdx.x < count - whole * kThreads));
  const float mean = own_count > 0 ? sum / own_count : 0;
  float squares = 0;
#pragma unroll
  for (int e = 0; e < kElements; ++e) {
    const float distance = e < own_count ? value[e] - mean : 0;
    squares = fmaf(distance, distance, squares);
  }
  const Statistics all = merge_block({own_count, mean, squares});
  if (threadIdx.x == 0) statistics[blockIdx.x] = all;
}

// Leaves mean and 1 / standard deviation of each group in its first piece's place.
__global__ void __launch_bounds__(kThreads) merge_kernel(Statistics* statistics, int64_t pieces, float epsilon) {
  Statistics* group = statistics + blockIdx.x * pieces;
  Statistics own = {0, 0, 0};
  for (int64_t piece = threadIdx.x; piece < pieces; piece += kThreads) own = merge(own, group[piece]);
  const Statistics all = merge_block(own);
  if (threadIdx.x == 0) group[0] = {all.count, all.mean, rsqrtf(all.squares / all.count + epsilon)};
}

template <class T, class Out>
__global__ void __launch_bounds__(kThreads)
    normalise_kernel(const T* x, Out* out, int64_t planes, int64_t pixels, int64_t parts, int channels,
                     int group_channels, int64_t pieces, const Statistics* statistics, Parameter weight,
                     Parameter bias, int activation) {
  const int64_t plane = blockIdx.x / parts;
  const int64_t channel = plane % channels;
  const Statistics& group = statistics[plane / group_channels * pieces];
  const float gain = group.squares * (weight.data ? parameter_at(weight, channel) : 1.0f);
  const float shift = parameter_at(bias, channel) - group.mean * gain;
  const int64_t first = blockIdx.x % parts * kPiece;
  const int64_t last = min(first + kPiece, pixels);
  with_activation(activation, [&](auto constant) {
#pragma unroll 4
    for (int64_t i = first + threadIdx.x; i < last; i += kThreads) {
      const float value = fmaf(to_float(x[plane * pixels + i]), gain, shift);
      out[plane * pixels + i] = from_float<Out>(activate<decltype(constant)::kValue>(value));
    }
  });
}

int64_t pieces_of(const GroupNormArguments& arguments) {
  const View& x = arguments.x;
  return (x.size(1) / arguments.groups * x.size(2) * x.size(3) + kPiece - 1) / kPiece;
}

template <class T, class Out>
void normalise(const GroupNormArguments& arguments, const Statistics* statistics, const Launch& launch) {
  const View& x = arguments.x;
  const int64_t planes = x.size(0) * x.size(1);
  const int64_t pixels = x.size(2) * x.size(3);
  const int64_t parts = (pixels + kPiece - 1) / kPiece;
  normalise_kernel<T, Out><<<static_cast<unsigned>(planes * parts), kThreads, 0, launch.stream>>>(
      x.as<const T>(), arguments.out.as<Out>(), planes, pixels, parts, static_cast<int>(x.size(1)),
      static_cast<int>(x.size(1) / arguments.groups), pieces_of(arguments), statistics, Parameter(arguments.weight),
      Parameter(arguments.bias), arguments.activation);
}

template <class T>
cudaError_t group_norm_typed(const GroupNormArguments& arguments, const Launch& launch) {
  const View& x = arguments.x;
  const int64_t group_elements = x.size(1) / arguments.groups * x.size(2) * x.size(3);
  const int64_t groups = x.size(0) * arguments.groups;
  const int64_t pieces = pieces_of(arguments);
  auto* statistics = reinterpret_cast<Statistics*>(launch.workspace);
  piece_kernel<T><<<static_cast<unsigned>(groups * pieces), kThreads, 0, launch.stream>>>(x.as<const T>(),
                                                                                         group_elements, pieces,
                                                                                         statistics);
  merge_kernel<<<static_cast<unsigned>(groups), kThreads, 0, launch.stream>>>(statistics, pieces, arguments.epsilon);
  if (arguments.out.dtype == TAMIAS_BF16) {
    normalise<T, __nv_bfloat16>(arguments, statistics, launch);
  } else {
    normalise<T, float>(arguments, statistics, launch);
  }
  return cudaGetLastError();
}

}  // namespace

int64_t group_norm_scratch_bytes(const GroupNormArguments& arguments) {
  return arguments.x.size(0) * arguments.groups * pieces_of(arguments) * static_cast<int64_t>(sizeof(Statistics));
}

cudaError_t group_norm(const GroupNormArguments& arguments, const Launch& launch) {
  return arguments.x.dtype == TAMIAS_BF16 ? group_norm_typed<__nv_bfloat16>(arguments, launch)
                                          : group_norm_typed<float>(arguments, launch);
}

}  // namespace tamias
