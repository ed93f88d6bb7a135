#include <cstring>

#include "common/checks/move.h"
#include "common/convert_scalar.h"
#include "runtime/run.h"
#include "walk.h"

using namespace tamias;

namespace {

constexpr int kThreads = 256;

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
    char pattern[16];
    convert_scalar(value, arguments.out.dtype, pattern);
    for (int64_t i = size; i < 16; ++i) pattern[i] = pattern[i - size];
    op.submit([&](const Run& run) {
      for_each_part({arguments.out}, [&](const View(&part)[1]) {
        const LoopNest<1> nest(part);
        if (lines_divide(nest, part, 16 / size, 16)) return fill_as<uint4>(run, nest, 16 / size, part[0], pattern);
        switch (size) {
          case 4: return fill_as<uint32_t>(run, nest, 1, part[0], pattern);
          case 2: return fill_as<uint16_t>(run, nest, 1, part[0], pattern);
          default: return fill_as<uint8_t>(run, nest, 1, part[0], pattern);
        }
      });
    });
  });
}
