#include "picture.h"

#include <algorithm>

#include "../common/element.cuh"
#include "../dense/finish.cuh"

namespace tamias {
namespace {

constexpr int kThreads = 256;

unsigned blocks_for(int64_t items, const Launch& launch) {
  return static_cast<unsigned>(std::min((items + kThreads - 1) / kThreads, int64_t{launch.multiprocessors} * 32));
}

template <class Body>
__device__ __forceinline__ void for_each(int64_t items, const Body& body) {
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x; i < items; i += step) body(i);
}

template <class T>
__global__ void __launch_bounds__(kThreads) pad_kernel(const T* in, T* out, Padding p) {
  const int64_t out_height = p.height + p.top + p.bottom;
  const int64_t out_width = p.width + p.left + p.right;
  for_each(p.planes * out_height * out_width, [&](int64_t i) {
    const int64_t x = i % out_width - p.left;
    const int64_t row = i / out_width;
    const int64_t y = row % out_height - p.top;
    const bool inside = x >= 0 && x < p.width && y >= 0 && y < p.height;
    out[i] = inside ? in[(row / out_height * p.height + y) * p.width + x] : T(0);
  });
}

template <class In, class Out>
__global__ void __launch_bounds__(kThreads) bias_kernel(const In* in, Out* out, Parameter bias, int64_t channels,
                                                        int64_t pixels, int64_t total) {
  for_each(total, [&](int64_t i) {
    const int64_t channel = i / pixels % channels;
    out[i] = from_float<Out>(to_float(in[i]) + parameter_at(bias, channel));
  });
}

template <class T>
__global__ void __launch_bounds__(kThreads) upsample_kernel(const T* in, T* out, int64_t width, int64_t total,
                                                            int factor) {
  const int64_t out_width = width * factor;
  for_each(total, [&](int64_t i) {
    // Planes need no extra arithmetic: a plane's height is multiplied by `factor` too.
    out[i] = in[i / out_width / factor * width + i % out_width / factor];
  });
}

template <class T>
__global__ void __launch_bounds__(kThreads) image_kernel(const T* in, uint8_t* out, int64_t channel_step,
                                                         int64_t row_step, int64_t step, int64_t width,
                                                         int64_t pixels) {
  for_each(pixels, [&](int64_t i) {
    const T* from = in + i / width * row_step + i % width * step;
#pragma unroll
    for (int channel = 0; channel < 3; ++channel) {
      const float unit = to_float(from[channel * channel_step]) * 0.5f + 0.5f;
      // fmaxf drops a NaN.
      out[3 * i + channel] = static_cast<uint8_t>(rintf(fminf(fmaxf(unit, 0.0f), 1.0f) * 255.0f));
    }
  });
}

template <class In, class Out>
cudaError_t add_bias_typed(const ChannelBias& p, const Launch& launch) {
  const int64_t total = p.batch * p.channels * p.pixels;
  bias_kernel<In, Out><<<blocks_for(total, launch), kThreads, 0, launch.stream>>>(
      static_cast<const In*>(p.in), static_cast<Out*>(p.out), Parameter(p.bias), p.channels, p.pixels, total);
  return cudaGetLastError();
}

}  // namespace

cudaError_t pad_planes(const void* in, void* out, int32_t element_bytes, const Padding& padding,
                       const Launch& launch) {
  const int64_t total = padding.planes * (padding.height + padding.top + padding.bottom) *
                        (padding.width + padding.left + padding.right);
  const unsigned blocks = blocks_for(total, launch);
  if (element_bytes == 2) {
    pad_kernel<<<blocks, kThreads, 0, launch.stream>>>(static_cast<const uint16_t*>(in), static_cast<uint16_t*>(out),
                                                       padding);
  } else {
    pad_kernel<<<blocks, kThreads, 0, launch.stream>>>(static_cast<const uint32_t*>(in), static_cast<uint32_t*>(out),
                                                       padding);
  }
  return cudaGetLastError();
}

cudaError_t add_channel_bias(const ChannelBias& problem, const Launch& launch) {
  const bool in_bf16 = problem.in_dtype == TAMIAS_BF16;
  const bool out_bf16 = problem.out_dtype == TAMIAS_BF16;
  if (in_bf16 && out_bf16) return add_bias_typed<__nv_bfloat16, __nv_bfloat16>(problem, launch);
  if (in_bf16) return add_bias_typed<__nv_bfloat16, float>(problem, launch);
  if (out_bf16) return add_bias_typed<float, __nv_bfloat16>(problem, launch);
  return add_bias_typed<float, float>(problem, launch);
}

cudaError_t upsample_nearest(const UpsampleArguments& arguments, const Launch& launch) {
  const int64_t total = arguments.out.elements();
  const int64_t width = arguments.x.size(3);
  const unsigned blocks = blocks_for(total, launch);
  if (arguments.x.dtype == TAMIAS_BF16) {
    upsample_kernel<<<blocks, kThreads, 0, launch.stream>>>(arguments.x.as<const uint16_t>(),
                                                            arguments.out.as<uint16_t>(), width, total,
                                                            arguments.factor);
  } else {
    upsample_kernel<<<blocks, kThreads, 0, launch.stream>>>(arguments.x.as<const uint32_t>(),
                                                            arguments.out.as<uint32_t>(), width, total,
                                                            arguments.factor);
  }
  return cudaGetLastError();
}

cudaError_t image_rgb8(const ImageArguments& arguments, const Launch& launch) {
  const View& x = arguments.x;
  const int64_t pixels = x.size(1) * x.size(2);
  const unsigned blocks = blocks_for(pixels, launch);
  auto* out = arguments.out.as<uint8_t>();
  if (x.dtype == TAMIAS_BF16) {
    image_kernel<<<blocks, kThreads, 0, launch.stream>>>(x.as<const __nv_bfloat16>(), out, x.step(0), x.step(1),
                                                         x.step(2), x.size(2), pixels);
  } else {
    image_kernel<<<blocks, kThreads, 0, launch.stream>>>(x.as<const float>(), out, x.step(0), x.step(1), x.step(2),
                                                         x.size(2), pixels);
  }
  return cudaGetLastError();
}

}  // namespace tamias
