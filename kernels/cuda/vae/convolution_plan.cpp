#include "convolution_plan.h"

#include <array>
#include <limits>
#include <map>
#include <mutex>

#include "../libraries/cudnn.h"
#include "common/failure.h"
#include "runtime/device.h"
#include "tamias.h"

namespace tamias {
namespace {

constexpr size_t kMostWorkspace = size_t{256} << 20;
constexpr size_t kMostPlans = 1024;
constexpr int kCandidates = 8;

int32_t narrow(int64_t number) {
  if (number > std::numeric_limits<int32_t>::max()) fail(TAMIAS_UNSUPPORTED, "cuDNN has no such large dimensions");
  return static_cast<int32_t>(number);
}

class CudnnPlan final : public ConvolutionPlan {
 public:
  CudnnPlan(const Device& device, const ConvolutionShape& s) : shared_(cudnn::handle_of(device)) {
    const int32_t type = s.dtype == TAMIAS_BF16 ? cudnn::kBfloat16 : cudnn::kFloat;
    const int32_t math = s.dtype == TAMIAS_BF16 ? cudnn::kTensorCores : cudnn::kFusedMultiplyAdd;
    constexpr const char* kWhat = "planning a convolution";
    cudnn::check(library_.tensor_create(&x_), kWhat);
    cudnn::check(library_.tensor_create(&out_), kWhat);
    cudnn::check(library_.filter_create(&weight_), kWhat);
    cudnn::check(library_.convolution_create(&convolution_), kWhat);
    const int32_t format = s.channels_last ? cudnn::kChannelsLast : cudnn::kChannelsFirst;
    need(library_.tensor_set(x_, format, type, 1, narrow(s.channels), narrow(s.height), narrow(s.width)));
    need(library_.tensor_set(out_, format, type, 1, narrow(s.out_channels), narrow(s.out_height()),
                             narrow(s.out_width())));
    need(library_.filter_set(weight_, type, format, narrow(s.out_channels), narrow(s.channels),
                             narrow(s.kernel_height), narrow(s.kernel_width)));
    need(library_.convolution_set(convolution_, 0, 0, s.stride, s.stride, 1, 1, cudnn::kCrossCorrelation,
                                  cudnn::kFloat));
    need(library_.convolution_set_math(convolution_, math));
    choose(math);
  }

  ~CudnnPlan() override {
    if (convolution_) library_.convolution_destroy(convolution_);
    if (weight_) library_.filter_destroy(weight_);
    for (const cudnn::Tensor tensor : {x_, out_}) {
      if (tensor) library_.tensor_destroy(tensor);
    }
  }

  size_t workspace_bytes() const override { return chosen_.workspace_bytes; }

  void run(const void* x, const void* weight, void* out, cudaStream_t stream, char* workspace) const override {
    const float one = 1;
    const float zero = 0;
    const std::lock_guard lock(shared_.mutex);
    cudnn::check(library_.set_stream(shared_.handle, stream), "convolving");
    cudnn::check(library_.convolve(shared_.handle, &one, x_, x, weight_, weight, convolution_, chosen_.algorithm,
                                   workspace, chosen_.workspace_bytes, &zero, out_, out),
                 "convolving");
  }

 private:
  static void need(int32_t status) {
    if (status != 0) fail(TAMIAS_UNSUPPORTED, "cuDNN cannot do this: %s", cudnn::library().error_text(status));
  }

  void choose(int32_t math) {
    cudnn::Candidate candidates[kCandidates];
    int32_t count = 0;
    const std::lock_guard lock(shared_.mutex);
    need(library_.candidates(shared_.handle, x_, weight_, convolution_, out_, kCandidates, &count, candidates));
    for (int32_t i = 0; i < count; ++i) {
      const cudnn::Candidate& candidate = candidates[i];
      // Sums of products only: transforms (FFT, Winograd) cancel.
      const bool exact = candidate.algorithm <= cudnn::kMostPlainAlgorithm && candidate.math_type == math;
      const bool fits = candidate.workspace_bytes <= kMostWorkspace;
      if (candidate.status != 0 || candidate.determinism != 1 || !exact || !fits) continue;
      chosen_ = candidate;
      need(library_.convolution_set_math(convolution_, candidate.math_type));
      return;
    }
    fail(TAMIAS_UNSUPPORTED, "cuDNN has no algorithm for this convolution");
  }

  const cudnn::Library& library_ = cudnn::library();
  cudnn::SharedHandle& shared_;
  cudnn::Tensor x_ = nullptr;
  cudnn::Tensor out_ = nullptr;
  cudnn::Filter weight_ = nullptr;
  cudnn::Convolution convolution_ = nullptr;
  cudnn::Candidate chosen_{};
};

}  // namespace

std::shared_ptr<const ConvolutionPlan> plan_convolution(const Device& device, const ConvolutionShape& s) {
  using Key = std::array<int64_t, 10>;
  static std::mutex mutex;
  static auto& plans = *new std::map<Key, std::shared_ptr<const ConvolutionPlan>>;
  const Key key = {device.index(), s.channels_last, s.dtype,         s.channels,     s.height,
                   s.width,        s.out_channels,  s.kernel_height, s.kernel_width, s.stride};
  const std::lock_guard lock(mutex);
  const auto known = plans.find(key);
  if (known != plans.end()) return known->second;
  device.enter();
  if (plans.size() >= kMostPlans) plans.clear();
  return plans[key] = std::make_shared<CudnnPlan>(device, s);
}

}  // namespace tamias
