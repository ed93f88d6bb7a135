// A convolution without padding by cuDNN, of one dtype. Plans are made once a shape.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>

namespace tamias {

class Device;

// x: [height, width, channels] where channels_last, else [channels, height, width]; weight and out alike.
struct ConvolutionShape {
  bool channels_last;
  int32_t dtype;  // BF16 or F32
  int64_t channels, height, width;
  int64_t out_channels, kernel_height, kernel_width;
  int32_t stride;

  int64_t out_height() const { return (height - kernel_height) / stride + 1; }
  int64_t out_width() const { return (width - kernel_width) / stride + 1; }
};

class ConvolutionPlan {
 public:
  virtual ~ConvolutionPlan() = default;
  virtual size_t workspace_bytes() const = 0;
  virtual void run(const void* x, const void* weight, void* out, cudaStream_t stream, char* workspace) const = 0;
};

// Fails with TAMIAS_UNSUPPORTED where cuDNN is not installed or cannot do it.
std::shared_ptr<const ConvolutionPlan> plan_convolution(const Device& device, const ConvolutionShape& shape);

}  // namespace tamias
