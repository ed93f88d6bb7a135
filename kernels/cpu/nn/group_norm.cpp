#include <cmath>

#include "../common/convert.h"
#include "../common/parallel.h"
#include "common/checks/norm.h"
#include "kernels.h"

using namespace tamias;

namespace {

struct Moments {
  double count, mean, squares;  // squares: sum of squared distances from the mean
};

Moments moments_of(const NormKernels& kernels, const float* x, int64_t elements) {
  const double count = static_cast<double>(elements);
  const double mean = kernels.sum(x, elements) / count;
  return {count, mean, kernels.sum_of_squares(x, static_cast<float>(mean), elements)};
}

Moments merge(const Moments& a, const Moments& b) {
  const double count = a.count + b.count;
  if (count == 0) return a;
  const double distance = b.mean - a.mean;
  const double share = b.count / count;
  return {count, a.mean + distance * share, a.squares + b.squares + distance * distance * a.count * share};
}

Moments read(const float* stored) { return {stored[0], stored[1], stored[2]}; }

}  // namespace

extern "C" int32_t tamias_group_norm(uint64_t stream, const tamias_tensor* x, int32_t groups,
                                     const tamias_tensor* moments, const tamias_tensor* weight,
                                     const tamias_tensor* bias, float epsilon, int32_t activation,
                                     const tamias_tensor* out) {
  return run_op("group_norm", stream, [&](Op& op) {
    const GroupNormArguments arguments(op, x, groups, moments, weight, bias, epsilon, activation, out);
    const View& in = arguments.x;
    const View& result = arguments.out;
    const View& given = arguments.moments;
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
          const Moments group =
              given ? read(given.f32() + 3 * index) : moments_of(kernels, from, group_elements);
          const double variance = group.squares / group.count;
          const double factor = 1.0 / std::sqrt(variance + static_cast<double>(epsilon));
          const int64_t first_channel = index % groups * group_channels;
          for (int64_t c = 0; c < group_channels; ++c) {
            const double gain = factor * (weight_data ? weight_data[first_channel + c] : 1.0f);
            const double shift = (bias_data ? bias_data[first_channel + c] : 0.0f) - group.mean * gain;
            kernels.scale_shift(from + c * pixels, static_cast<float>(gain), static_cast<float>(shift), activation,
                                to + c * pixels, pixels);
          }
        }
      });
    });
  });
}

extern "C" int32_t tamias_group_moments(uint64_t stream, const tamias_tensor* x, int32_t groups,
                                        const tamias_tensor* moments) {
  return run_op("group_moments", stream, [&](Op& op) {
    const GroupMomentsArguments arguments(op, x, groups, moments);
    const View& in = arguments.x;
    const View& result = arguments.moments;
    if (in.empty()) return;
    op.submit([=](const Run& run) {
      const auto& kernels = norms(run.isa);
      const int64_t group_elements = in.size(1) / groups * in.size(2) * in.size(3);
      parallel_for(run, in.size(0) * groups, 2 * group_elements, [&](int64_t begin, int64_t end, int) {
        for (int64_t index = begin; index < end; ++index) {
          float* stored = result.f32() + 3 * index;
          const Moments own = moments_of(kernels, in.f32() + index * group_elements, group_elements);
          const Moments all = merge(read(stored), own);
          stored[0] = static_cast<float>(all.count);
          stored[1] = static_cast<float>(all.mean);
          stored[2] = static_cast<float>(all.squares);
        }
      });
    });
  });
}
