#include "../dense/rows.h"
#include "convolution_plan.h"
#include "picture.h"
#include "runtime/check.h"

using namespace tamias;

namespace {

// Contiguous elements of a tensor in scratch memory, where its own memory does not suit cuDNN.
struct Copy {
  bool needed = false;
  size_t offset = 0;

  Copy() = default;
  Copy(int32_t dtype, int64_t elements, Scratch& space)
      : needed(true), offset(space.take(elements * static_cast<int64_t>(dtype_size(dtype)))) {}
  char* in(const Run& run, char* otherwise) const { return needed ? run.workspace + offset : otherwise; }
};

void convert(const View& from, int32_t dtype, char* to, const Run& run) {
  const int64_t count = from.elements();
  check_cuda(pack_rows({from.data, from.dtype, count}, {to, dtype, count}, 1, count, run.launch()),
             "converting a tensor");
}

}  // namespace

extern "C" int32_t tamias_conv2d(uint64_t stream, const tamias_tensor* x, const tamias_tensor* weight,
                                 const tamias_tensor* bias, int32_t stride, int32_t pad_top, int32_t pad_bottom,
                                 int32_t pad_left, int32_t pad_right, const tamias_tensor* out) {
  return run_op("conv2d", stream, [&](Op& op) {
    const ConvolutionArguments arguments(op, x, weight, bias, stride, pad_top, pad_bottom, pad_left, pad_right, out);
    if (arguments.out.empty()) return;
    const View& in = arguments.x;
    const View& weights = arguments.weight;
    const View& result = arguments.out;
    const bool all_bf16 =
        in.dtype == TAMIAS_BF16 && weights.dtype == TAMIAS_BF16 && result.dtype == TAMIAS_BF16;
    const int32_t dtype = all_bf16 ? TAMIAS_BF16 : TAMIAS_F32;
    const auto element_bytes = static_cast<int32_t>(dtype_size(dtype));

    // cuDNN pads opposite sides alike: what differs is written out.
    const bool even = pad_top == pad_bottom && pad_left == pad_right;
    const Padding padding = {in.size(0) * in.size(1), in.size(2), in.size(3), pad_top, pad_bottom, pad_left, pad_right};
    ConvolutionShape shape{};
    shape.batch = in.size(0);
    shape.channels = in.size(1);
    shape.height = in.size(2) + (even ? 0 : pad_top + pad_bottom);
    shape.width = in.size(3) + (even ? 0 : pad_left + pad_right);
    shape.out_channels = weights.size(0);
    shape.kernel_height = weights.size(2);
    shape.kernel_width = weights.size(3);
    shape.out_height = result.size(2);
    shape.out_width = result.size(3);
    shape.stride = stride;
    shape.pad_height = even ? pad_top : 0;
    shape.pad_width = even ? pad_left : 0;
    shape.dtype = dtype;

    Scratch scratch;
    const Copy wide_in = in.dtype == dtype ? Copy() : Copy(dtype, in.elements(), scratch);
    const Copy wide_weights = weights.dtype == dtype ? Copy() : Copy(dtype, weights.elements(), scratch);
    const Copy wide_result = result.dtype == dtype ? Copy() : Copy(dtype, result.elements(), scratch);
    const Copy padded =
        even ? Copy() : Copy(dtype, padding.planes * shape.height * shape.width, scratch);
    const auto plan = plan_convolution(op.device(), shape);
    const size_t plan_workspace = scratch.take(static_cast<int64_t>(plan->workspace_bytes()));
    op.workspace(scratch);

    op.submit([=](const Run& run) {
      char* input = wide_in.in(run, in.data);
      if (wide_in.needed) convert(in, dtype, input, run);
      char* kernel = wide_weights.in(run, weights.data);
      if (wide_weights.needed) convert(weights, dtype, kernel, run);
      if (padded.needed) {
        char* wider = padded.in(run, nullptr);
        check_cuda(pad_planes(input, wider, element_bytes, padding, run.launch()), "padding a picture");
        input = wider;
      }
      char* product = wide_result.in(run, result.data);
      plan->run(input, kernel, product, run.stream, run.workspace + plan_workspace);
      if (!arguments.bias && !wide_result.needed) return;
      const ChannelBias rest = {product,        dtype,          result.data,   result.dtype,
                                arguments.bias, result.size(0), result.size(1), result.size(2) * result.size(3)};
      check_cuda(add_channel_bias(rest, run.launch()), "adding the bias");
    });
  });
}
