#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "../common/launch.h"

namespace tamias {

// `count` neighbouring elements of any dtype to F32, BF16 or F16.
cudaError_t convert_elements(const void* in, int32_t in_dtype, void* out, int32_t out_dtype, int64_t count,
                             const Launch& launch);

}  // namespace tamias
