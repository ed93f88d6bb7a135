// layer_norm, rms_norm, norm_rope.
#include "../common/convert.h"
#include "common/checks/norm.h"
#include "common/loops.h"
#include "../common/parallel.h"
#include "kernels.h"

using namespace tamias;

extern "C" int32_t tamias_layer_norm(uint64_t stream, const tamias_tensor* x, const tamias_tensor* weight,
                                     const tamias_tensor* bias, const tamias_tensor* scale, const tamias_tensor* shift,
                                     float epsilon, const tamias_tensor* out) {
  return run_op("layer_norm", stream, [&](Op& op) {
    const LayerNormArguments arguments(op, x, weight, bias, scale, shift, epsilon, out);
    const View& in = arguments.x;
    const View& result = arguments.out;
    const int64_t tokens = in.size(1);
    const int64_t d = in.size(2);
    Scratch scratch;
    const F32Rows weight_row(arguments.weight, scratch);
    const F32Rows bias_row(arguments.bias, scratch);
    const F32Rows scale_rows(arguments.scale, scratch);
    const F32Rows shift_rows(arguments.shift, scratch);
    op.workspace(scratch);
    if (result.empty()) return;
    op.submit([=](const Run& run) {
      const auto& kernels = norms(run.isa);
      for (const F32Rows* parameter : {&weight_row, &bias_row, &scale_rows, &shift_rows}) parameter->unpack(run);
      parallel_for(run, in.size(0) * tokens, 2 * d, [&](int64_t begin, int64_t end, int) {
        for (int64_t row = begin; row < end; ++row) {
          const int64_t batch = row / tokens;
          kernels.layer_norm(in.f32() + row_offset(in, row), weight_row.row(run, 0), bias_row.row(run, 0),
                             scale_rows.row(run, batch), shift_rows.row(run, batch), epsilon,
                             result.f32() + row_offset(result, row), d);
        }
      });
    });
  });
}

extern "C" int32_t tamias_rms_norm(uint64_t stream, const tamias_tensor* x, const tamias_tensor* weight, float epsilon,
                                   const tamias_tensor* out) {
  return run_op("rms_norm", stream, [&](Op& op) {
    const RmsNormArguments arguments(op, x, weight, epsilon, out);
    const View& in = arguments.x;
    const View& result = arguments.out;
    const int64_t d = in.size(-1);
    Scratch scratch;
    const F32Rows weight_row(arguments.weight, scratch);
    op.workspace(scratch);
    if (result.empty()) return;
    op.submit([=](const Run& run) {
      const auto& kernels = norms(run.isa);
      weight_row.unpack(run);
      parallel_for(run, row_count(in), d, [&](int64_t begin, int64_t end, int) {
        for (int64_t row = begin; row < end; ++row) {
          kernels.rms_norm(in.f32() + row_offset(in, row), weight_row.row(run, 0), epsilon,
                           result.f32() + row_offset(result, row), d);
        }
      });
    });
  });
}

extern "C" int32_t tamias_norm_rope(uint64_t stream, const tamias_tensor* x, const tamias_tensor* weight, float epsilon,
                                    const tamias_tensor* cos, const tamias_tensor* sin, int32_t rope_layout,
                                    const tamias_tensor* out) {
  return run_op("norm_rope", stream, [&](Op& op) {
    const NormRopeArguments arguments(op, x, weight, epsilon, cos, sin, rope_layout, out);
    const View& in = arguments.x;
    const View& result = arguments.out;
    const int64_t tokens = in.size(2);
    const int64_t head_dim = in.size(3);
    Scratch scratch;
    const F32Rows weight_row(arguments.weight, scratch);
    const F32Rows cosine_rows(arguments.cos, scratch);
    const F32Rows sine_rows(arguments.sin, scratch);
    op.workspace(scratch);
    if (result.empty()) return;
    op.submit([=](const Run& run) {
      const auto& kernels = norms(run.isa);
      for (const F32Rows* parameter : {&weight_row, &cosine_rows, &sine_rows}) parameter->unpack(run);
      const float* weight_data = weight_row.row(run, 0);
      parallel_for(run, row_count(in), head_dim, [&](int64_t begin, int64_t end, int) {
        for (int64_t row = begin; row < end; ++row) {
          const float* from = in.f32() + row_offset(in, row);
          float* to = result.f32() + row_offset(result, row);
          const int64_t token = row % tokens;
          const float factor = weight_data ? kernels.rms_factor(from, epsilon, head_dim) : 1.0f;
          if (arguments.cos) {
            kernels.rope(from, factor, weight_data, cosine_rows.row(run, token), sine_rows.row(run, token),
                         arguments.halves, to, head_dim);
          } else if (weight_data) {
            kernels.rms_norm(from, weight_data, epsilon, to, head_dim);
          } else {
            kernels.scale_shift(from, 1.0f, 0.0f, TAMIAS_IDENTITY, to, head_dim);
          }
        }
      });
    });
  });
}
