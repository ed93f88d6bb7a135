#include "scale_rows.h"

#include "runtime/check.h"

using namespace tamias;

extern "C" int32_t tamias_scale_rows(uint64_t stream, const tamias_tensor* x, const tamias_tensor* scale) {
  return run_op("scale_rows", stream, [&](Op& op) {
    const ScaleRowsArguments arguments(op, x, scale);
    if (arguments.x.empty()) return;
    op.submit([=](const Run& run) { check_cuda(scale_rows(arguments, run.launch()), "scaling rows"); });
  });
}
