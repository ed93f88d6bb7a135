// copy, fill, gather_rows, tensor_load.
#pragma once

#include <memory>

#include "common/file.h"
#include "common/op.h"

namespace tamias {

// The dtypes between which values are converted.
constexpr Types kFloating =
    kF32 | type_bit(TAMIAS_BF16) | type_bit(TAMIAS_F16) | type_bit(TAMIAS_F8_E4M3);

struct CopyArguments {
  View in, out;

  CopyArguments(const Op& op, const tamias_tensor* in, const tamias_tensor* out);
};

struct FillArguments {
  View out;

  FillArguments(const Op& op, const tamias_tensor* out);
};

struct GatherArguments {
  View table, indices, out;

  GatherArguments(const Op& op, const tamias_tensor* table, const tamias_tensor* indices, const tamias_tensor* out);
};

struct LoadArguments {
  View out;
  int32_t file_dtype;
  uint64_t offset;
  std::shared_ptr<const File> file;

  LoadArguments(const Op& op, const char* path, uint64_t offset, int32_t file_dtype, const tamias_tensor* out);
};

}  // namespace tamias
