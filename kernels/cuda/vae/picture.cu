#include "picture.h"

#include <algorithm>

#include "../common/element.cuh"

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

}  // namespace

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
