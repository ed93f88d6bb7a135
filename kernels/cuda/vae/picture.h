// Passes over pictures [batch, channels, height, width], contiguous unless strides are given.
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "../common/launch.h"
#include "common/checks/norm.h"
#include "common/checks/picture.h"

namespace tamias {

int64_t group_moments_scratch_bytes(const View& x, int32_t groups);
cudaError_t group_norm(const GroupNormArguments& arguments, const Launch& launch);
cudaError_t group_moments(const GroupMomentsArguments& arguments, const Launch& launch);

cudaError_t upsample_nearest(const UpsampleArguments& arguments, const Launch& launch);
cudaError_t image_rgb8(const ImageArguments& arguments, const Launch& launch);

}  // namespace tamias
