// activate, combine, multiply, gate_residual.
#include "../common/convert.h"
#include "common/checks/elementwise.h"
#include "common/loops.h"
#include "../common/parallel.h"
#include "for_each_line.h"
#include "kernels.h"

using namespace tamias;

namespace {

bool has_rows(const View& view) { return view.size(-1) <= 1 || view.step(-1) == 1; }

// The same gate for every token: [batch, d] as [batch, tokens, d].
View for_each_token(const View& gates, int64_t tokens) {
  View repeated = gates;
  repeated.rank = 3;
  repeated.shape[1] = tokens;
  repeated.shape[2] = gates.shape[1];
  repeated.stride[1] = 0;
  repeated.stride[2] = gates.stride[1];
  return repeated;
}

}  // namespace

extern "C" int32_t tamias_activate(uint64_t stream, int32_t activation, const tamias_tensor* x,
                                   const tamias_tensor* out) {
  return run_op("activate", stream, [&](Op& op) {
    const ActivateArguments arguments(op, activation, x, out);
    const View& in = arguments.x;
    const View& result = arguments.out;
    if (result.empty()) return;
    op.submit([=](const Run& run) {
      const auto& kernels = elementwise(run.isa);
      const LoopNest<2> nest({result, in});
      for_each_line(run, nest, [&](const int64_t(&offset)[2], int64_t first, int64_t count) {
        kernels.activate(activation, in.f32() + offset[1] + first * nest.step[1], nest.step[1],
                         result.f32() + offset[0] + first * nest.step[0], nest.step[0], count);
      });
    });
  });
}

extern "C" int32_t tamias_combine(uint64_t stream, float alpha, const tamias_tensor* a, float beta,
                                  const tamias_tensor* b, const tamias_tensor* out) {
  return run_op("combine", stream, [&](Op& op) {
    const PairArguments arguments(op, a, b, out);
    const View& left = arguments.a;
    const View& right = arguments.b;
    const View& result = arguments.out;
    if (result.empty()) return;
    op.submit([=](const Run& run) {
      const auto& kernels = elementwise(run.isa);
      const LoopNest<3> nest({result, left, right});
      for_each_line(run, nest, [&](const int64_t(&offset)[3], int64_t first, int64_t count) {
        kernels.combine(alpha, left.f32() + offset[1] + first * nest.step[1], nest.step[1], beta,
                        right.f32() + offset[2] + first * nest.step[2], nest.step[2],
                        result.f32() + offset[0] + first * nest.step[0], nest.step[0], count);
      });
    });
  });
}

extern "C" int32_t tamias_multiply(uint64_t stream, const tamias_tensor* a, const tamias_tensor* b,
                                   const tamias_tensor* out) {
  return run_op("multiply", stream, [&](Op& op) {
    const PairArguments arguments(op, a, b, out);
    const View& left = arguments.a;
    const View& right = arguments.b;
    const View& result = arguments.out;
    if (result.empty()) return;
    op.submit([=](const Run& run) {
      const auto& kernels = elementwise(run.isa);
      const LoopNest<3> nest({result, left, right});
      for_each_line(run, nest, [&](const int64_t(&offset)[3], int64_t first, int64_t count) {
        kernels.multiply(left.f32() + offset[1] + first * nest.step[1], nest.step[1],
                         right.f32() + offset[2] + first * nest.step[2], nest.step[2],
                         result.f32() + offset[0] + first * nest.step[0], nest.step[0], count);
      });
    });
  });
}

extern "C" int32_t tamias_gate_residual(uint64_t stream, const tamias_tensor* residual, const tamias_tensor* gate,
                                        const tamias_tensor* x, const tamias_tensor* out) {
  return run_op("gate_residual", stream, [&](Op& op) {
    const GateResidualArguments arguments(op, residual, gate, x, out);
    const View& base = arguments.residual;
    const View& gates = arguments.gate;
    const View& in = arguments.x;
    const View& result = arguments.out;
    if (!has_rows(base) || !has_rows(in) || !has_rows(result)) {
      if (result.empty()) return;
      op.submit([=](const Run& run) {
        const LoopNest<4> nest({result, base, for_each_token(gates, in.size(1)), in});
        for_each_line(run, nest, [&](const int64_t(&offset)[4], int64_t first, int64_t count) {
          for (int64_t i = first; i < first + count; ++i) {
            result.f32()[offset[0] + i * nest.step[0]] =
                base.f32()[offset[1] + i * nest.step[1]] +
                gates.f32()[offset[2] + i * nest.step[2]] * in.f32()[offset[3] + i * nest.step[3]];
          }
        });
      });
      return;
    }
    Scratch scratch;
    const F32Rows gate_rows(gates, scratch);
    op.workspace(scratch);
    if (result.empty()) return;
    op.submit([=](const Run& run) {
      const auto& kernels = elementwise(run.isa);
      const int64_t tokens = in.size(1);
      const int64_t d = in.size(2);
      gate_rows.unpack(run);
      parallel_for(run, in.size(0) * tokens, d, [&](int64_t begin, int64_t end, int) {
        for (int64_t row = begin; row < end; ++row) {
          kernels.gate_residual(base.f32() + row_offset(base, row), gate_rows.row(run, row / tokens),
                                in.f32() + row_offset(in, row), result.f32() + row_offset(result, row), d);
        }
      });
    });
  });
}
