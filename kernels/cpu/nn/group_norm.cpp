#include <cmath>

#include "../common/convert.h"
#include "../common/parallel.h"
#include "common/checks/norm.h"
#include "kernels.h"

using namespace tamias;

extern "C" int32_t tamias_group_norm(uint64_t stream, const tamias_tensor* x, int32_t groups,
                                     const tamias_tensor* weight, const tamias_tensor* bias, float epsilon,
                                     int32_t activation, const tamias_tensor* out) {
  return run_op("group_norm", stream, [&](Op& op) {
    const GroupNormArguments arguments(op, x, groups, weight, bias, epsilon, activation, out);
    const View& in = arguments.x;
    const View& result = arguments.out;
    const int64_t channels = in.size(1);
    Scratch scratch;
    const F32Rows weight_row(arguments.weight, scratch);
    const F32Rows bias_row(arguments.bias, scratch);
    op.workspace(scratch);
    if (result.empty()) return;
    op.submit([=](const Run& run) {
      const auto& kernels = norms(run.isa);
      const int64_t pixels = in.size(2) * in.size(3);
      const int64_t group_channels = channels / groups;
      const int64_t group_elements = group_channels * pixels;
      weight_row.unpack(run);
      bias_row.unpack(run);
      const float* weight_data = weight_row.row(run, 0);
      const float* bias_data = bias_row.row(run, 0);
      parallel_for(run, in.size(0) * groups, 3 * group_elements, [&](int64_t begin, int64_t end, int) {
        for (int64_t index = begin; index < end; ++index) {
          const float* from = in.f32() + index * group_elements;
          float* to = result.f32() + index * group_elements;
          const double count = static_cast<double>(group_elements);
          const double mean = kernels.sum(from, group_elements) / count;
          const double variance = kernels.sum_of_squares(from, static_cast<float>(mean), group_elements) / count;
          const double factor = 1.0 / std::sqrt(variance + static_cast<double>(epsilon));
          const int64_t first_channel = index % groups * group_channels;
          for (int64_t c = 0; c < group_channels; ++c) {
            const double gain = factor * (weight_data ? weight_data[first_channel + c] : 1.0f);
            const double shift = (bias_data ? bias_data[first_channel + c] : 0.0f) - mean * gain;
            kernels.scale_shift(from + c * pixels, static_cast<float>(gain), static_cast<float>(shift), activation,
                                to + c * pixels, pixels);
          }
        }
      });
    });
  });
}
