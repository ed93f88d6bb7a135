// The part of cuDNN that is used, declared here because its headers need not be installed.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>
#include <mutex>

#include "shared_library.h"

namespace tamias {
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
  SharedLibrary file{{"libcudnn.so.9", "libcudnn.so"}, "cuDNN 9", "NVIDIA's package libcudnn9-cuda-13 (or -12)"};

  template <class... Arguments>
  using Function = Imported<int32_t, Arguments...>;

  Function<Handle*> create{file, "cudnnCreate"};
  Function<Handle, cudaStream_t> set_stream{file, "cudnnSetStream"};
  Imported<const char*, int32_t> error_text{file, "cudnnGetErrorString"};
  Function<Tensor*> tensor_create{file, "cudnnCreateTensorDescriptor"};
  Function<Tensor> tensor_destroy{file, "cudnnDestroyTensorDescriptor"};
  // format, type, n, c, h, w
  Function<Tensor, int32_t, int32_t, int32_t, int32_t, int32_t, int32_t> tensor_set{file,
                                                                                  "cudnnSetTensor4dDescriptor"};
  Function<Filter*> filter_create{file, "cudnnCreateFilterDescriptor"};
  Function<Filter> filter_destroy{file, "cudnnDestroyFilterDescriptor"};
  // type, format, k, c, h, w
  Function<Filter, int32_t, int32_t, int32_t, int32_t, int32_t, int32_t> filter_set{file,
                                                                                  "cudnnSetFilter4dDescriptor"};
  Function<Convolution*> convolution_create{file, "cudnnCreateConvolutionDescriptor"};
  Function<Convolution> convolution_destroy{file, "cudnnDestroyConvolutionDescriptor"};
  // padding, stride and dilation, each along h and w; mode, type
  Function<Convolution, int32_t, int32_t, int32_t, int32_t, int32_t, int32_t, int32_t, int32_t> convolution_set{
      file, "cudnnSetConvolution2dDescriptor"};
  Function<Convolution, int32_t> convolution_set_math{file, "cudnnSetConvolutionMathType"};
  // x, weight, y; how many are wanted, how many were found, and where
  Function<Handle, Tensor, Filter, Convolution, Tensor, int32_t, int32_t*, Candidate*> candidates{
      file, "cudnnGetConvolutionForwardAlgorithm_v7"};
  // alpha, x, weight, algorithm, workspace and its bytes, beta, y
  Function<Handle, const void*, Tensor, const void*, Filter, const void*, Convolution, int32_t, void*, size_t,
           const void*, Tensor, void*>
      convolve{file, "cudnnConvolutionForward"};
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
