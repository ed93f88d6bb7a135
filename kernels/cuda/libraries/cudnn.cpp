#include "cudnn.h"

#include <map>

#include "common/failure.h"
#include "runtime/device.h"
#include "shared_library.h"

namespace tamias::cudnn {
namespace {

Library load() {
  const SharedLibrary file({"libcudnn.so.9", "libcudnn.so"}, "cuDNN 9", "NVIDIA's package libcudnn9-cuda-13 (or -12)");
  Library found;
  file.find(found.create, "cudnnCreate");
  file.find(found.set_stream, "cudnnSetStream");
  file.find(found.error_text, "cudnnGetErrorString");
  file.find(found.tensor_create, "cudnnCreateTensorDescriptor");
  file.find(found.tensor_destroy, "cudnnDestroyTensorDescriptor");
  file.find(found.tensor_set, "cudnnSetTensor4dDescriptor");
  file.find(found.filter_create, "cudnnCreateFilterDescriptor");
  file.find(found.filter_destroy, "cudnnDestroyFilterDescriptor");
  file.find(found.filter_set, "cudnnSetFilter4dDescriptor");
  file.find(found.convolution_create, "cudnnCreateConvolutionDescriptor");
  file.find(found.convolution_destroy, "cudnnDestroyConvolutionDescriptor");
  file.find(found.convolution_set, "cudnnSetConvolution2dDescriptor");
  file.find(found.convolution_set_math, "cudnnSetConvolutionMathType");
  file.find(found.candidates, "cudnnGetConvolutionForwardAlgorithm_v7");
  file.find(found.convolve, "cudnnConvolutionForward");
  return found;
}

}  // namespace

const Library& library() {
  static const Library loaded = load();
  return loaded;
}

SharedHandle& handle_of(const Device& device) {
  static std::mutex mutex;
  static auto& handles = *new std::map<int, SharedHandle>;
  const std::lock_guard lock(mutex);
  SharedHandle& shared = handles[device.index()];
  if (!shared.handle) {
    device.enter();
    check(library().create(&shared.handle), "starting cuDNN");
  }
  return shared;
}

void check(int32_t status, const char* what) {
  if (status != 0) fail(TAMIAS_DEVICE, "%s: cuDNN says %s", what, library().error_text(status));
}

}  // namespace tamias::cudnn
