#pragma once

#include <cuda_runtime_api.h>

#include "../common/launch.h"
#include "common/checks/rows.h"

namespace tamias {

cudaError_t scale_rows(const ScaleRowsArguments& arguments, const Launch& launch);

}  // namespace tamias
