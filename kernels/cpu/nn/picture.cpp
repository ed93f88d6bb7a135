// upsample_nearest, image_rgb8.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "../common/parallel.h"
#include "common/checks/picture.h"

using namespace tamias;

extern "C" int32_t tamias_upsample_nearest(uint64_t stream, const tamias_tensor* x, int32_t factor,
                                           const tamias_tensor* out) {
  return run_op("upsample_nearest", stream, [&](Op& op) {
    const UpsampleArguments arguments(op, x, factor, out);
    const View& in = arguments.x;
    const View& result = arguments.out;
    if (result.empty()) return;
    op.submit([=](const Run& run) {
      const int64_t width = in.size(3);
      const int64_t rows = in.size(0) * in.size(1) * in.size(2);
      parallel_for(run, rows, width * factor * factor, [&](int64_t begin, int64_t end, int) {
        for (int64_t row = begin; row < end; ++row) {
          const float* from = in.f32() + row * width;
          float* to = result.f32() + row * width * factor * factor;
          if (factor == 2) {
            for (int64_t i = 0; i < width; ++i) to[2 * i] = to[2 * i + 1] = from[i];
          } else {
            for (int64_t i = 0; i < width; ++i) std::fill_n(to + i * factor, factor, from[i]);
          }
          for (int64_t copy = 1; copy < factor; ++copy) {
            std::memcpy(to + copy * width * factor, to, static_cast<size_t>(width * factor) * sizeof(float));
          }
        }
      });
    });
  });
}

extern "C" int32_t tamias_image_rgb8(uint64_t stream, const tamias_tensor* x, const tamias_tensor* out) {
  return run_op("image_rgb8", stream, [&](Op& op) {
    const ImageArguments arguments(op, x, out);
    const View& in = arguments.x;
    const View& result = arguments.out;
    if (result.empty()) return;
    op.submit([=](const Run& run) {
      const int64_t width = in.size(2);
      parallel_for(run, in.size(1), 3 * width, [&](int64_t begin, int64_t end, int) {
        for (int64_t y = begin; y < end; ++y) {
          for (int64_t channel = 0; channel < 3; ++channel) {
            const float* from = in.f32() + channel * in.step(0) + y * in.step(1);
            uint8_t* to = result.as<uint8_t>() + y * width * 3 + channel;
            for (int64_t i = 0; i < width; ++i) {
              // std::max drops a NaN in its second argument.
              const float unit = std::min(std::max(0.0f, from[i * in.step(2)] * 0.5f + 0.5f), 1.0f);
              to[3 * i] = static_cast<uint8_t>(std::nearbyint(unit * 255.0f));
            }
          }
        }
      });
    });
  });
}
