// What cuDNN is given and what it gives, against the ABI's [channels, height, width].
#pragma once

#include <cuda_runtime_api.h>

#include <cstdint>

#include "../common/launch.h"
#include "../dense/rows.h"

namespace tamias {

// `planes` pictures of contiguous rows. dtype: BF16 or F32.
struct Planes {
  void* data;
  int32_t dtype;
  int64_t planes, height, width;
};

// A window of `in`, zero outside it (and in planes that it lacks), converted to out's dtype; out is [height, width,
// planes] where planes_last, else [planes, height, width]. (top, left): where the window begins in `in`, perhaps
// negative.
struct Window {
  Planes in;
  int64_t top, left;
  Planes out;
  bool planes_last;
};
cudaError_t copy_window(const Window& window, const Launch& launch);

// The weight [outputs, inputs, taps] as [wide_outputs, taps, wide_inputs] where inputs_last, else in its own order
// (and widths); zero in what is added.
struct Filters {
  const void* in;
  int32_t in_dtype;
  int64_t outputs, inputs, taps;
  void* out;
  int32_t out_dtype;
  int64_t wide_outputs, wide_inputs;
  bool inputs_last;
};
cudaError_t copy_filters(const Filters& filters, const Launch& launch);

// A product, laid out as Window's `out`, into rows of pictures: out[plane, top + y, x] = in + bias[plane].
struct Result {
  Planes in;
  bool planes_last;
  Parameter bias;
  Planes out;
  int64_t top;
};
cudaError_t store_result(const Result& result, const Launch& launch);

}  // namespace tamias
