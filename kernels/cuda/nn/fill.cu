#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "common/checks/move.h"
#include "walk.h"

using namespace tamias;

namespace {

constexpr int kThreads = 256;
constexpr int64_t kPattern = 16;  // bytes

template <class T>
T saturated(double value) {
  if (std::isnan(value)) return 0;
  const double lowest = std::numeric_limits<T>::min();
  const double highest = std::numeric_limits<T>::max();
  return static_cast<T>(std::fmin(std::fmax(std::nearbyint(value), lowest), highest));
}

template <class T>
void repeat(const T& element, char (&pattern)[kPattern]) {
  for (size_t i = 0; i < kPattern; i += sizeof(T)) std::memcpy(pattern + i, &element, sizeof(T));
}

void make_pattern(double value, int32_t dtype, char (&pattern)[kPattern]) {
  const auto single = static_cast<float>(value);
  switch (dtype) {
    case TAMIAS_F32: return repeat(single, pattern);
    case TAMIAS_BF16: return repeat(__float2bfloat16_rn(single), pattern);
    case TAMIAS_F16: return repeat(__float2half_rn(single), pattern);
    case TAMIAS_F8_E4M3: return repeat(__nv_fp8_e4m3(single), pattern);
    case TAMIAS_I8: return repeat(saturated<int8_t>(value), pattern);
    case TAMIAS_U8: return repeat(saturated<uint8_t>(value), pattern);
    case TAMIAS_U16: return repeat(saturated<uint16_t>(value), pattern);
    default: return repeat(saturated<int32_t>(value), pattern);
  }
}

template <class Unit>
__global__ __launch_bounds__(kThreads) void fill_units(const Walk<1> walk, Unit* out, const Unit value) {
  constexpr int kUnits = 4;  // a thread
#pragma unroll
  for (int u = 0; u < kUnits; ++u) {
    const uint32_t unit = (blockIdx.x * kUnits + u) * kThreads + threadIdx.x;
    if (unit >= walk.units) return;
    int64_t offset[1];
    walk.find(unit, offset);
    out[offset[0]] = value;
  }
}

template <class Unit>
void fill_as(const Run& run, const LoopNest<1>& nest, int64_t unit, const View& out, const void* value) {
  Walk<1> walk(nest, unit);
  walk.step[0] /= unit;
  for (int axis = 0; axis < walk.rank; ++axis) walk.stride[0][axis] /= unit;
  Unit element;
  std::memcpy(&element, value, sizeof element);
  fill_units<<<(walk.units + 4 * kThreads - 1) / (4 * kThreads), kThreads, 0, run.stream>>>(walk, out.as<Unit>(),
                                                                                           element);
}

}  // namespace

extern "C" int32_t tamias_fill(uint64_t stream, double value, const tamias_tensor* out) {
  return run_op("fill", stream, [&](Op& op) {
    const FillArguments arguments(op, out);
    if (arguments.out.empty()) return;
    const auto size = static_cast<int64_t>(dtype_size(arguments.out.dtype));
    char pattern[kPattern];
    make_pattern(value, arguments.out.dtype, pattern);
    op.submit([&](const Run& run) {
      for_each_part({arguments.out}, [&](const View(&part)[1]) {
        const LoopNest<1> nest(part);
        const int64_t unit = kPattern / size;
        if (lines_divide(nest, part, unit, kPattern)) return fill_as<uint4>(run, nest, unit, part[0], pattern);
        switch (size) {
          case 4: return fill_as<uint32_t>(run, nest, 1, part[0], pattern);
          case 2: return fill_as<uint16_t>(run, nest, 1, part[0], pattern);
          default: return fill_as<uint8_t>(run, nest, 1, part[0], pattern);
        }
      });
    });
  });
}
