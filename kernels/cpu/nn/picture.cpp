// upsample_nearest, image_rgb8.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "common/op.h"
#include "../common/parallel.h"

using namespace tamias;

extern "C" int32_t tamias_upsample_nearest(uint64_t stream, const tamias_tensor* x, int32_t factor,
                                           const tamias_tensor* out) {
  return run_op("upsample_nearest", stream, [&](Op& op) {
    const View in = op.input("x", x, kF32, 4, 4);
    const View result = op.output("out", out, kF32, 4, 4);
    if (factor < 1 || factor > 1024) refuse("factor is %d, expected 1 to 1024", factor);
    op.contiguous(in);
    op.contiguous(result);
    for (int axis = 2; axis < 4; ++axis) {
      if (in.size(axis) > (int64_t{1} << 40)) refuse("x has shape %s, which is too large", in.shape_text().c_str());
    }
    op.shape(result, {in.size(0), in.size(1), in.size(2) * factor, in.size(3) * factor});
    op.apart(result, {in});
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
    const View in = op.input("x", x, kF32, 3, 3);
    const View result = op.output("out", out, kU8, 3, 3);
    if (in.size(0) != 3) refuse("x has shape %s, expected [3, height, width]", in.shape_text().c_str());
    op.shape(result, {in.size(1), in.size(2), 3});
    op.contiguous(result);
    op.apart(result, {in});
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
