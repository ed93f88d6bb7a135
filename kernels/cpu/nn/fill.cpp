#include <algorithm>
#include <cstring>

#include "../common/convert.h"
#include "common/checks/move.h"
#include "for_each_line.h"

using namespace tamias;

namespace {

template <class T>
void fill_lines(const Run& run, const View& out, const void* element) {
  T value;
  std::memcpy(&value, element, sizeof value);
  const LoopNest<1> nest({out});
  const int64_t step = nest.step[0];
  for_each_line(run, nest, [&](const int64_t(&offset)[1], int64_t first, int64_t count) {
    T* to = out.as<T>() + offset[0] + first * step;
    if (step == 1) {
      std::fill_n(to, count, value);
    } else {
      for (int64_t i = 0; i < count; ++i) to[i * step] = value;
    }
  });
}

}  // namespace

extern "C" int32_t tamias_fill(uint64_t stream, double value, const tamias_tensor* out) {
  return run_op("fill", stream, [&](Op& op) {
    const View result = FillArguments(op, out).out;
    if (result.empty()) return;
    uint32_t element = 0;
    convert_scalar(value, result.dtype, &element);
    op.submit([=](const Run& run) {
      switch (dtype_size(result.dtype)) {
        case 4: return fill_lines<uint32_t>(run, result, &element);
        case 2: return fill_lines<uint16_t>(run, result, &element);
        default: return fill_lines<uint8_t>(run, result, &element);
      }
    });
  });
}
