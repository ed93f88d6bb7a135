// layer_norm, rms_norm, norm_rope.
#include "../common/convert.h"
#include "common/loops.h"
#include "common/op.h"
#include "../common/parallel.h"
#include "kernels.h"

using namespace tamias;

extern "C" int32_t tamias_layer_norm(uint64_t stream, const tamias_tensor* x, const tamias_tensor* weight,
                                     const tamias_tensor* bias, const tamias_tensor* scale, const tamias_tensor* shift,
                                     float epsilon, const tamias_tensor* out) {
  return run_op("layer_norm", stream, [&](Op& op) {
    const View in = op.input("x", x, kF32, 3, 3);
    const int64_t tokens = in.size(1);
    const int64_t d = in.size(2);
    const View weights = op.optional_input("weight", weight, kWeights, 1, 1);
    const View biases = op.optional_input("bias", bias, kWeights, 1, 1);
    const View scales = op.optional_input("scale", scale, kWeights, 2, 2);
    const View shifts = op.optional_input("shift", shift, kWeights, 2, 2);
    const View result = op.output("out", out, kF32, 3, 3);
    op.same_shape(result, in);
    op.shape(weights, {d});
    op.shape(biases, {d});
    op.shape(scales, {in.size(0), d});
    op.shape(shifts, {in.size(0), d});
    op.rows(in);
    op.rows(result);
    op.apart(result, {weights, biases, scales, shifts});
    op.apart_or_same(result, {in});
    Op::epsilon(epsilon);
    Scratch scratch;
    const F32Rows weight_row(weights, scratch);
    const F32Rows bias_row(biases, scratch);
    const F32Rows scale_rows(scales, scratch);
    const F32Rows shift_rows(shifts, scratch);
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
    const View in = op.input("x", x, kF32, 2, 4);
    const int64_t d = in.size(-1);
    const View weights = op.optional_input("weight", weight, kWeights, 1, 1);
    const View result = op.output("out", out, kF32, 2, 4);
    op.same_shape(result, in);
    op.shape(weights, {d});
    op.rows(in);
    op.rows(result);
    op.apart(result, {weights});
    op.apart_or_same(result, {in});
    Op::epsilon(epsilon);
    Scratch scratch;
    const F32Rows weight_row(weights, scratch);
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
    const View in = op.input("x", x, kF32, 4, 4);
    const int64_t tokens = in.size(2);
    const int64_t head_dim = in.size(3);
    const View weights = op.optional_input("weight", weight, kWeights, 1, 1);
    const View cosines = op.optional_input("cos", cos, kF32, 2, 2);
    const View sines = op.optional_input("sin", sin, kF32, 2, 2);
    const View result = op.output("out", out, kF32, 4, 4);
    op.same_shape(result, in);
    op.shape(weights, {head_dim});
    if (static_cast<bool>(cosines) != static_cast<bool>(sines)) {
      refuse("%s is NULL, but %s is given", cosines ? "sin" : "cos", cosines ? "cos" : "sin");
    }
    if (cosines && head_dim % 2 != 0) refuse("x has headDim %lld, which cannot be rotated", (long long)head_dim);
    op.shape(cosines, {tokens, head_dim / 2});
    op.shape(sines, {tokens, head_dim / 2});
    op.rows(in);
    op.rows(result);
    op.apart(result, {weights, cosines, sines});
    op.apart_or_same(result, {in});
    if (rope_layout != TAMIAS_ROPE_PAIRS && rope_layout != TAMIAS_ROPE_HALVES) {
      refuse("rope_layout is %d, expected 0 or 1", rope_layout);
    }
    if (weights) Op::epsilon(epsilon);
    Scratch scratch;
    const F32Rows weight_row(weights, scratch);
    const F32Rows cosine_rows(cosines, scratch);
    const F32Rows sine_rows(sines, scratch);
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
          if (cosines) {
            kernels.rope(from, factor, weight_data, cosine_rows.row(run, token), sine_rows.row(run, token),
                         rope_layout == TAMIAS_ROPE_HALVES, to, head_dim);
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
