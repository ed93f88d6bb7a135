// Rows of one dtype to and from F32.
#pragma once

#include <cstdint>

#include "../runtime/run.h"
#include "common/op.h"
#include "common/view.h"

namespace tamias {

// `count` neighbouring elements of any dtype; values are kept where F32 can hold them.
void convert_to_f32(int32_t dtype, const void* in, int64_t count, float* out);

// To F32, BF16, F16 or F8_E4M3, rounded to nearest even. F8_E4M3 saturates.
void convert_from_f32(int32_t dtype, const float* in, int64_t count, void* out);

// One element of any dtype, rounded to nearest and saturated; `element` gets dtype_size(dtype) bytes.
void convert_scalar(double value, int32_t dtype, void* element);

// Moves elements of `size` bytes between a line and a contiguous buffer; `step` is in elements.
void pack_line(const char* line, int64_t step, int64_t count, size_t size, char* to);
void unpack_line(const char* from, int64_t count, size_t size, char* line, int64_t step);

// A small parameter, [d] or [n, d], as F32 rows: read in place where it is that already, otherwise unpacked into
// scratch memory when the closure starts.
class F32Rows {
 public:
  F32Rows() = default;
  F32Rows(const View& view, Scratch& scratch);

  explicit operator bool() const { return static_cast<bool>(view_); }
  void unpack(const Run& run) const;                       // once, before the first `row`
  const float* row(const Run& run, int64_t index) const;  // null if absent

 private:
  View view_;
  bool in_place_ = true;
  size_t offset_ = 0;
};

}  // namespace tamias
