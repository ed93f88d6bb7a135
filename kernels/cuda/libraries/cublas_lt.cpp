#include "cublas_lt.h"

#include "common/failure.h"

namespace tamias::cublas_lt {

const Library& library() {
  static const Library loaded;
  return loaded;
}

Handle handle_of(const Device& device) {
  static auto& handles = *new PerDevice<Handle>;
  return handles.of(device, [](Handle& handle) { check(library().create(&handle), "starting cuBLAS"); });
}

void check(int32_t status, const char* what) {
  if (status != 0) fail(TAMIAS_DEVICE, "%s: cuBLAS status %d", what, status);
}

}  // namespace tamias::cublas_lt
