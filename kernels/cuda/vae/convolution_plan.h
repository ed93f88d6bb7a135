// A convolution by cuDNN, of one dtype and with the same padding on opposite sides. Plans are made once a shape.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <memory>

namespace tamias {

class Device;

struct ConvolutionShape {
  int64_t batch, channels, height, width;  // of x
  int64_t out_channels, kernel_height, kernel_width;
  int64_t out_height, out_width;
  int32_t stride, pad_height, pad_width;
  int32_t dtype;  // BF16 or F32
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
