// A tensor argument, and what may be asked of its dtype.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>

#include "tamias.h"

namespace tamias {

size_t dtype_size(int32_t dtype);         // 0: no such dtype
const char* dtype_name(int32_t dtype);    // "F32", ...

// Sets of dtypes.
using Types = uint32_t;
constexpr Types type_bit(int32_t dtype) { return Types{1} << dtype; }
constexpr Types kF32 = type_bit(TAMIAS_F32);
constexpr Types kI32 = type_bit(TAMIAS_I32);
constexpr Types kU8 = type_bit(TAMIAS_U8);
constexpr Types kIndices = type_bit(TAMIAS_I32) | type_bit(TAMIAS_U16);
constexpr Types kAnyType = 0xff;

// A checked tensor argument. Plain data: closures copy it.
struct View {
  const char* name = nullptr;  // of the argument; a string literal
  char* data = nullptr;
  int32_t dtype = TAMIAS_F32;
  bool on_host = false;  // in host memory
  int32_t rank = 0;
  int64_t shape[TAMIAS_MAX_RANK] = {};
  int64_t stride[TAMIAS_MAX_RANK] = {};  // in elements

  explicit operator bool() const { return rank != 0; }  // false: an optional tensor that was not given

  template <class T>
  T* as() const { return reinterpret_cast<T*>(data); }
  float* f32() const { return as<float>(); }

  // Negative axes count from the last.
  int64_t size(int axis) const { return shape[axis < 0 ? rank + axis : axis]; }
  int64_t step(int axis) const { return stride[axis < 0 ? rank + axis : axis]; }

  int64_t elements() const;
  bool empty() const { return elements() == 0; }
  bool contiguous() const;           // row-major without gaps
  uint64_t extent_bytes() const;     // from `data` to the end of the last element; 0 if empty
  std::string shape_text() const;    // "[2, 3, 4]"
};

std::string shape_text(const int64_t* shape, int rank);
bool same_shape(const View& a, const View& b);

}  // namespace tamias
