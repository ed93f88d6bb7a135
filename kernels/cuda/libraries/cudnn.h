// The part of cuDNN that is used, declared here because its headers need not be installed.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <mutex>

namespace tamias {

class Device;

namespace cudnn {

enum DataType : int32_t { kFloat = 0, kBfloat16 = 9 };
enum Format : int32_t { kChannelsFirst = 0, kChannelsLast = 1 };
enum Mode : int32_t { kCrossCorrelation = 1 };
enum MathType : int32_t { kTensorCores = 1, kFusedMultiplyAdd = 3 };

// Algorithms 0 (implicit product), 1 (the same with offsets computed before) and 2 (explicit product).
constexpr int32_t kMostPlainAlgorithm = 2;

struct Candidate {
  int32_t algorithm;
  int32_t status;
  float time;
  size_t workspace_bytes;
  int32_t determinism;  // 1: the same call gives the same bits
  int32_t math_type;
  int32_t reserved[3];
};

using Handle = struct HandleTag*;
using Tensor = struct TensorTag*;
using Filter = struct FilterTag*;
using Convolution = struct ConvolutionTag*;

struct Library {
  int32_t (*create)(Handle*);
  int32_t (*set_stream)(Handle, cudaStream_t);
  const char* (*error_text)(int32_t status);
  int32_t (*tensor_create)(Tensor*);
  int32_t (*tensor_destroy)(Tensor);
  int32_t (*tensor_set)(Tensor, int32_t format, int32_t type, int32_t n, int32_t c, int32_t h, int32_t w);
  int32_t (*filter_create)(Filter*);
  int32_t (*filter_destroy)(Filter);
  int32_t (*filter_set)(Filter, int32_t type, int32_t format, int32_t k, int32_t c, int32_t h, int32_t w);
  int32_t (*convolution_create)(Convolution*);
  int32_t (*convolution_destroy)(Convolution);
  int32_t (*convolution_set)(Convolution, int32_t pad_h, int32_t pad_w, int32_t stride_h, int32_t stride_w,
                             int32_t dilation_h, int32_t dilation_w, int32_t mode, int32_t type);
  int32_t (*convolution_set_math)(Convolution, int32_t math_type);
  int32_t (*candidates)(Handle, Tensor x, Filter, Convolution, Tensor y, int32_t wanted, int32_t* found, Candidate*);
  int32_t (*convolve)(Handle, const void* alpha, Tensor, const void* x, Filter, const void* weight, Convolution,
                      int32_t algorithm, void* workspace, size_t workspace_bytes, const void* beta, Tensor, void* y);
};

const Library& library();  // fails with TAMIAS_UNSUPPORTED where it is not installed

// One a device, of the process; one thread at a time.
struct SharedHandle {
  std::mutex mutex;
  Handle handle = nullptr;
};
SharedHandle& handle_of(const Device& device);

void check(int32_t status, const char* what);

}  // namespace cudnn
}  // namespace tamias
