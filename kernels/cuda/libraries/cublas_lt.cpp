#include "cublas_lt.h"

#include <map>
#include <mutex>

#include "common/failure.h"
#include "runtime/device.h"
#include "shared_library.h"

namespace tamias::cublas_lt {
namespace {

Library load() {
  const SharedLibrary file({"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"}, "cuBLAS",
                           "NVIDIA's package libcublas-13-0 (or libcublas-12-x)");
  Library found;
  file.find(found.create, "cublasLtCreate");
  file.find(found.descriptor_create, "cublasLtMatmulDescCreate");
  file.find(found.descriptor_destroy, "cublasLtMatmulDescDestroy");
  file.find(found.descriptor_set, "cublasLtMatmulDescSetAttribute");
  file.find(found.layout_create, "cublasLtMatrixLayoutCreate");
  file.find(found.layout_destroy, "cublasLtMatrixLayoutDestroy");
  file.find(found.layout_set, "cublasLtMatrixLayoutSetAttribute");
  file.find(found.preference_create, "cublasLtMatmulPreferenceCreate");
  file.find(found.preference_destroy, "cublasLtMatmulPreferenceDestroy");
  file.find(found.preference_set, "cublasLtMatmulPreferenceSetAttribute");
  file.find(found.heuristics, "cublasLtMatmulAlgoGetHeuristic");
  file.find(found.multiply, "cublasLtMatmul");
  return found;
}

}  // namespace

const Library& library() {
  static const Library loaded = load();
  return loaded;
}

Handle handle_of(const Device& device) {
  static std::mutex mutex;
  static std::map<int, Handle>& handles = *new std::map<int, Handle>;
  const std::lock_guard lock(mutex);
  Handle& handle = handles[device.index()];
  if (!handle) {
    device.enter();
    check(library().create(&handle), "starting cuBLAS");
  }
  return handle;
}

void check(int32_t status, const char* what) {
  if (status != 0) fail(TAMIAS_DEVICE, "%s: cuBLAS status %d", what, status);
}

}  // namespace tamias::cublas_lt
