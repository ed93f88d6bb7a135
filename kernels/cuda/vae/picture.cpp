// group_norm, group_moments, upsample_nearest, image_rgb8.
#include "picture.h"

#include "runtime/check.h"

using namespace tamias;

extern "C" int32_t tamias_group_norm(uint64_t stream, const tamias_tensor* x, int32_t groups,
                                     const tamias_tensor* moments, const tamias_tensor* weight,
                                     const tamias_tensor* bias, float epsilon, int32_t activation,
                                     const tamias_tensor* out) {
  return run_op("group_norm", stream, [&](Op& op) {
    const GroupNormArguments arguments(op, x, groups, moments, weight, bias, epsilon, activation, out);
    if (arguments.out.empty()) return;
    Scratch scratch;
    const size_t statistics = arguments.moments ? 0 : scratch.take(group_moments_scratch_bytes(arguments.x, groups));
    op.workspace(scratch);
    op.submit([=](const Run& run) { check_cuda(group_norm(arguments, run.launch(statistics)), "normalising"); });
  });
}

extern "C" int32_t tamias_group_moments(uint64_t stream, const tamias_tensor* x, int32_t groups,
                                        const tamias_tensor* moments) {
  return run_op("group_moments", stream, [&](Op& op) {
    const GroupMomentsArguments arguments(op, x, groups, moments);
    if (arguments.x.empty()) return;
    Scratch scratch;
    const size_t statistics = scratch.take(group_moments_scratch_bytes(arguments.x, groups));
    op.workspace(scratch);
    op.submit([=](const Run& run) { check_cuda(group_moments(arguments, run.launch(statistics)), "measuring"); });
  });
}

extern "C" int32_t tamias_upsample_nearest(uint64_t stream, const tamias_tensor* x, int32_t factor,
                                           const tamias_tensor* out) {
  return run_op("upsample_nearest", stream, [&](Op& op) {
    const UpsampleArguments arguments(op, x, factor, out);
    if (arguments.out.empty()) return;
    op.submit([=](const Run& run) { check_cuda(upsample_nearest(arguments, run.launch()), "up-sampling"); });
  });
}

extern "C" int32_t tamias_image_rgb8(uint64_t stream, const tamias_tensor* x, const tamias_tensor* out) {
  return run_op("image_rgb8", stream, [&](Op& op) {
    const ImageArguments arguments(op, x, out);
    if (arguments.out.empty()) return;
    op.submit([=](const Run& run) { check_cuda(image_rgb8(arguments, run.launch()), "making a picture"); });
  });
}
