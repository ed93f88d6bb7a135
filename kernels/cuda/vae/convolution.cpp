// conv2d in bands of rows: a band is padded and laid out as the tensor cores want it, multiplied by cuDNN, and stored
// with the bias. A band's copies are small enough to stay in the second-level cache.
#include <algorithm>

#include "common/checks/picture.h"
#include "convolution_layout.h"
#include "convolution_plan.h"
#include "runtime/check.h"

using namespace tamias;

namespace {

constexpr int64_t kBandBytes = int64_t{48} << 20;
constexpr int64_t kTensorCoreChannels = 8;  // in multiples of this

int64_t round_up(int64_t number, int64_t multiple) { return (number + multiple - 1) / multiple * multiple; }

class BandedConvolution {
 public:
  BandedConvolution(const Device& device, const ConvolutionArguments& arguments, Scratch& space)
      : arguments_(arguments) {
    const View& x = arguments.x;
    const View& weight = arguments.weight;
    const View& out = arguments.out;
    const bool bf16 = x.dtype == TAMIAS_BF16 && weight.dtype == TAMIAS_BF16;
    const int64_t multiple = bf16 ? kTensorCoreChannels : 1;
    shape_.channels_last = bf16;
    shape_.dtype = bf16 ? TAMIAS_BF16 : TAMIAS_F32;
    shape_.channels = round_up(x.size(1), multiple);
    shape_.width = x.size(3) + arguments.pad_left + arguments.pad_right;
    shape_.out_channels = round_up(weight.size(0), multiple);
    shape_.kernel_height = weight.size(2);
    shape_.kernel_width = weight.size(3);
    shape_.stride = arguments.stride;

    const auto element = static_cast<int64_t>(dtype_size(shape_.dtype));
    const int64_t row_bytes =
        (shape_.stride * shape_.channels * shape_.width + shape_.out_channels * shape_.out_width()) * element;
    band_rows_ = std::clamp<int64_t>(kBandBytes / row_bytes, 1, out.size(2));
    const ConvolutionShape full = band(band_rows_);
    const int64_t last_rows = (out.size(2) - 1) % band_rows_ + 1;
    plan_ = plan_convolution(device, full);
    last_plan_ = plan_convolution(device, band(last_rows));
    filters_ = space.take(shape_.out_channels * shape_.channels * shape_.kernel_height * shape_.kernel_width * element);
    input_ = space.take(full.channels * full.height * full.width * element);
    product_ = space.take(full.out_channels * full.out_height() * full.out_width() * element);
    workspace_ = space.take(static_cast<int64_t>(std::max(plan_->workspace_bytes(), last_plan_->workspace_bytes())));
  }

  void run(const Run& run) const {
    const View& weight = arguments_.weight;
    check_cuda(copy_filters({weight.data, weight.dtype, weight.size(0), weight.size(1), weight.size(2) * weight.size(3),
                             run.workspace + filters_, shape_.dtype, shape_.out_channels, shape_.channels,
                             shape_.channels_last},
                            run.launch()),
               "laying out a weight");
    const int64_t rows = arguments_.out.size(2);
    for (int64_t picture = 0; picture < arguments_.out.size(0); ++picture) {
      for (int64_t first = 0; first < rows; first += band_rows_) {
        run_band(run, picture, first, std::min(band_rows_, rows - first));
      }
    }
  }

 private:
  ConvolutionShape band(int64_t rows) const {
    ConvolutionShape shape = shape_;
    shape.height = (rows - 1) * shape.stride + shape.kernel_height;
    return shape;
  }

  static Planes picture_of(const View& view, int64_t picture) {
    char* data = view.data + picture * view.stride[0] * static_cast<int64_t>(dtype_size(view.dtype));
    return {data, view.dtype, view.size(1), view.size(2), view.size(3)};
  }

  void run_band(const Run& run, int64_t picture, int64_t first, int64_t rows) const {
    const ConvolutionShape shape = band(rows);
    const Planes input = {run.workspace + input_, shape.dtype, shape.channels, shape.height, shape.width};
    const Planes product = {run.workspace + product_, shape.dtype, shape.out_channels, rows, shape.out_width()};
    check_cuda(copy_window({picture_of(arguments_.x, picture), first * shape.stride - arguments_.pad_top,
                            -arguments_.pad_left, input, shape.channels_last},
                           run.launch()),
               "laying out a picture");
    const auto& plan = rows == band_rows_ ? plan_ : last_plan_;
    plan->run(input.data, run.workspace + filters_, product.data, run.stream, run.workspace + workspace_);
    check_cuda(store_result({product, shape.channels_last, Parameter(arguments_.bias),
                             picture_of(arguments_.out, picture), first},
                            run.launch()),
               "storing a picture");
  }

  const ConvolutionArguments arguments_;
  ConvolutionShape shape_{};  // but for the height
  int64_t band_rows_ = 0;     // of the output
  std::shared_ptr<const ConvolutionPlan> plan_, last_plan_;
  size_t filters_ = 0, input_ = 0, product_ = 0, workspace_ = 0;
};

}  // namespace

extern "C" int32_t tamias_conv2d(uint64_t stream, const tamias_tensor* x, const tamias_tensor* weight,
                                 const tamias_tensor* bias, int32_t stride, int32_t pad_top, int32_t pad_bottom,
                                 int32_t pad_left, int32_t pad_right, const tamias_tensor* out) {
  return run_op("conv2d", stream, [&](Op& op) {
    const ConvolutionArguments arguments(op, x, weight, bias, stride, pad_top, pad_bottom, pad_left, pad_right, out);
    if (arguments.out.empty()) return;
    Scratch scratch;
    const BandedConvolution convolution(op.device(), arguments, scratch);
    op.workspace(scratch);
    op.submit([=](const Run& run) { convolution.run(run); });
  });
}
