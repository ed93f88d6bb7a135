#include "convolution_layout.h"

#include <algorithm>

#include "../dense/finish.cuh"

namespace tamias {
namespace {

// Planes come last through tiles in shared memory: rows of pixels are read, rows of planes are written, or the reverse.
constexpr int kTile = 64;
constexpr int kThreads = 256;
constexpr int kLines = kThreads / kTile;

template <class In, class Out>
__global__ void __launch_bounds__(kThreads) window_kernel(Window w) {
  const auto* in = static_cast<const In*>(w.in.data);
  auto* out = static_cast<Out*>(w.out.data);
  const int64_t pixels = w.out.height * w.out.width;
  const int64_t first_pixel = int64_t{blockIdx.x} * kTile;
  const int64_t first_plane = int64_t{blockIdx.y} * kTile;
  const int across = threadIdx.x % kTile;
  const int line = threadIdx.x / kTile;

  __shared__ float tile[kTile][kTile + 1];
  const int64_t pixel = first_pixel + across;
  const int64_t y = pixel / w.out.width + w.top;
  const int64_t x = pixel % w.out.width + w.left;
  const bool inside = pixel < pixels && y >= 0 && y < w.in.height && x >= 0 && x < w.in.width;
  const In* from = in + y * w.in.width + x;
#pragma unroll 8
  for (int p = line; p < kTile; p += kLines) {
    const int64_t plane = first_plane + p;
    const bool present = inside && plane < w.in.planes;
    const float value = present ? to_float(from[plane * w.in.height * w.in.width]) : 0.0f;
    if (w.planes_last) {
      tile[p][across] = value;
    } else if (pixel < pixels && plane < w.out.planes) {
      out[plane * pixels + pixel] = from_float<Out>(value);
    }
  }
  if (!w.planes_last) return;
  __syncthreads();
  const int64_t plane = first_plane + across;
  if (plane >= w.out.planes) return;
#pragma unroll 8
  for (int p = line; p < kTile && first_pixel + p < pixels; p += kLines) {
    out[(first_pixel + p) * w.out.planes + plane] = from_float<Out>(tile[across][p]);
  }
}

template <class In, class Out>
__global__ void __launch_bounds__(kThreads) result_kernel(Result r) {
  const auto* in = static_cast<const In*>(r.in.data);
  auto* out = static_cast<Out*>(r.out.data);
  const int64_t pixels = r.in.height * r.in.width;
  const int64_t first_pixel = int64_t{blockIdx.x} * kTile;
  const int64_t first_plane = int64_t{blockIdx.y} * kTile;
  const int across = threadIdx.x % kTile;
  const int line = threadIdx.x / kTile;

  __shared__ float tile[kTile][kTile + 1];
  if (r.planes_last) {
    const int64_t plane = first_plane + across;
#pragma unroll 8
    for (int p = line; p < kTile; p += kLines) {
      const bool present = plane < r.in.planes && first_pixel + p < pixels;
      tile[p][across] = present ? to_float(in[(first_pixel + p) * r.in.planes + plane]) : 0.0f;
    }
    __syncthreads();
  }
  const int64_t pixel = first_pixel + across;
  if (pixel >= pixels) return;
  Out* to = out + r.top * r.out.width + pixel;
#pragma unroll 8
  for (int p = line; p < kTile && first_plane + p < r.out.planes; p += kLines) {
    const int64_t plane = first_plane + p;
    const float value = r.planes_last ? tile[across][p] : to_float(in[plane * pixels + pixel]);
    to[plane * r.out.height * r.out.width] = from_float<Out>(value + parameter_at(r.bias, plane));
  }
}

template <class In, class Out>
__global__ void __launch_bounds__(kThreads) filters_kernel(Filters f) {
  const int64_t total = f.wide_outputs * f.taps * f.wide_inputs;
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x; i < total; i += step) {
    const int64_t output = i / (f.taps * f.wide_inputs);
    const int64_t rest = i % (f.taps * f.wide_inputs);
    const int64_t input = f.inputs_last ? rest % f.wide_inputs : rest / f.taps;
    const int64_t tap = f.inputs_last ? rest / f.wide_inputs : rest % f.taps;
    const bool present = output < f.outputs && input < f.inputs;
    const int64_t place = (output * f.inputs + input) * f.taps + tap;
    static_cast<Out*>(f.out)[i] =
        from_float<Out>(present ? to_float(static_cast<const In*>(f.in)[place]) : 0.0f);
  }
}

// Calls the kernel's instance for the dtypes of both sides.
template <template <class, class> class Kernel, class Problem>
cudaError_t launch_typed(int32_t in, int32_t out, dim3 grid, const Problem& problem, const Launch& launch) {
  const auto run = [&](auto kernel) {
    kernel<<<grid, kThreads, 0, launch.stream>>>(problem);
    return cudaGetLastError();
  };
  if (in == TAMIAS_BF16) {
    return out == TAMIAS_BF16 ? run(Kernel<__nv_bfloat16, __nv_bfloat16>::kFunction)
                              : run(Kernel<__nv_bfloat16, float>::kFunction);
  }
  return out == TAMIAS_BF16 ? run(Kernel<float, __nv_bfloat16>::kFunction) : run(Kernel<float, float>::kFunction);
}

template <class In, class Out>
struct WindowKernel {
  static constexpr auto kFunction = window_kernel<In, Out>;
};
template <class In, class Out>
struct ResultKernel {
  static constexpr auto kFunction = result_kernel<In, Out>;
};
template <class In, class Out>
struct FiltersKernel {
  static constexpr auto kFunction = filters_kernel<In, Out>;
};

dim3 tiles(const Planes& planes) {
  const int64_t pixels = planes.height * planes.width;
  const auto count = [](int64_t length) { return static_cast<unsigned>((length + kTile - 1) / kTile); };
  return {count(pixels), count(planes.planes), 1};
}

}  // namespace

cudaError_t copy_window(const Window& window, const Launch& launch) {
  return launch_typed<WindowKernel>(window.in.dtype, window.out.dtype, tiles(window.out), window, launch);
}

cudaError_t store_result(const Result& result, const Launch& launch) {
  return launch_typed<ResultKernel>(result.in.dtype, result.out.dtype, tiles(result.in), result, launch);
}

cudaError_t copy_filters(const Filters& filters, const Launch& launch) {
  const int64_t total = filters.wide_outputs * filters.taps * filters.wide_inputs;
  const int64_t blocks = std::min((total + kThreads - 1) / kThreads, int64_t{launch.multiprocessors} * 32);
  return launch_typed<FiltersKernel>(filters.in_dtype, filters.out_dtype, dim3(static_cast<unsigned>(blocks)), filters,
                                     launch);
}

}  // namespace tamias
