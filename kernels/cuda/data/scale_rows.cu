#include "scale_rows.h"

#include <algorithm>

#include "../common/element.cuh"

namespace tamias {
namespace {

constexpr int kThreads = 256;

template <class T>
__global__ void __launch_bounds__(kThreads) scale_kernel(T* x, int64_t x_step, const float* scale, int64_t scale_step,
                                                         int64_t columns, int64_t total) {
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x; i < total; i += step) {
    const int64_t row = i / columns;
    T& element = x[row * x_step + i % columns];
    element = from_float<T>(to_float(element) * scale[row * scale_step]);
  }
}

template <class T>
cudaError_t scale_typed(const ScaleRowsArguments& arguments, const Launch& launch) {
  const View& x = arguments.x;
  const int64_t total = x.elements();
  const int64_t blocks = std::min((total + kThreads - 1) / kThreads, int64_t{launch.multiprocessors} * 32);
  scale_kernel<<<static_cast<unsigned>(blocks), kThreads, 0, launch.stream>>>(
      x.as<T>(), x.step(0), arguments.scale.as<const float>(), arguments.scale_step, x.size(1), total);
  return cudaGetLastError();
}

}  // namespace

cudaError_t scale_rows(const ScaleRowsArguments& arguments, const Launch& launch) {
  return arguments.x.dtype == TAMIAS_BF16 ? scale_typed<__nv_bfloat16>(arguments, launch)
                                          : scale_typed<float>(arguments, launch);
}

}  // namespace tamias
