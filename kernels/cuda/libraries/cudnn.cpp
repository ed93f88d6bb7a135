#include "cudnn.h"

#include "common/failure.h"

namespace tamias::cudnn {

const Library& library() {
  static const Library loaded;
  return loaded;
}

SharedHandle& handle_of(const Device& device) {
  static auto& handles = *new PerDevice<SharedHandle>;
  return handles.of(device, [](SharedHandle& shared) { check(library().create(&shared.handle), "starting cuDNN"); });
}

void check(int32_t status, const char* what) {
  if (status != 0) fail(TAMIAS_DEVICE, "%s: cuDNN says %s", what, library().error_text(status));
}

}  // namespace tamias::cudnn
