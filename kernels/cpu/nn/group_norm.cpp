#include "../common/convert.h"
#include "common/op.h"
#include "../common/parallel.h"
#include "kernels.h"

#include <cmath>

using namespace tamias;

extern "C" int32_t tamias_group_norm(uint64_t stream, const tamias_tensor* x, int32_t groups,
                                     const tamias_tensor* weight, const tamias_tensor* bias, float epsilon,
                                     int32_t activation, const tamias_tensor* out) {
  return run_op("group_norm", stream, [&](Op& op) {
    const View in = op.input("x", x, kF32, 4, 4);
    const int64_t channels = in.size(1);
    const View weights = op.optional_input("weight", weight, kWeights, 1, 1);
    const View biases = op.optional_input("bias", bias, kWeights, 1, 1);
    const View result = op.output("out", out, kF32, 4, 4);
    op.same_shape(result, in);
    op.contiguous(in);
    op.contiguous(result);
    op.shape(weights, {channels});
    op.shape(biases, {channels});
    op.apart(result, {weights, biases});
    op.apart_or_same(result, {in});
    Op::epsilon(epsilon);
    Op::activation(activation);
    if (groups < 1 || channels % groups != 0) {
      refuse("groups is %d, which does not divide the %lld channels of x", groups, (long long)channels);
    }
    Scratch scratch;
    const F32Rows weight_row(weights, scratch);
    const F32Rows bias_row(biases, scratch);
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
