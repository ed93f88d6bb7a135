#include "convert.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "convert_16bit.h"

namespace tamias {
namespace {

// E4M3 "fn": no infinities, 0x7f and 0xff are NaN, largest 448.
float f8_to_f32(uint8_t bits) {
  const int exponent = bits >> 3 & 15;
  const int mantissa = bits & 7;
  const float units = static_cast<float>(exponent ? 8 + mantissa : mantissa);
  const float magnitude = exponent == 15 && mantissa == 7 ? std::numeric_limits<float>::quiet_NaN()
                                                          : std::ldexp(units, exponent ? exponent - 10 : -9);
  return bits & 0x80 ? -magnitude : magnitude;
}

uint8_t f32_to_f8(float value) {
  const uint8_t sign = std::signbit(value) ? 0x80 : 0;
  const float magnitude = std::fabs(value);
  if (std::isnan(value)) return sign | 0x7f;
  if (magnitude >= 448.0f) return sign | 0x7e;
  int exponent;
  std::frexp(magnitude, &exponent);  // magnitude in [2^(exponent - 1), 2^exponent)
  const int power = magnitude == 0 || exponent - 1 < -6 ? -6 : exponent - 1;
  // In units of the last mantissa bit; a carry into the next power of two gives the right bits by itself.
  const int units = static_cast<int>(std::nearbyint(std::ldexp(magnitude, 3 - power)));
  return static_cast<uint8_t>(sign | (((power + 6) << 3) + units));
}

template <class T>
void widen(const void* in, int64_t count, float* out) {
  const T* source = static_cast<const T*>(in);
  for (int64_t i = 0; i < count; ++i) out[i] = static_cast<float>(source[i]);
}

template <class T>
void saturate(double value, void* element) {
  const double low = static_cast<double>(std::numeric_limits<T>::min());
  const double high = static_cast<double>(std::numeric_limits<T>::max());
  double bounded = std::nearbyint(value);
  if (std::isnan(value)) bounded = 0;
  if (bounded < low) bounded = low;
  if (bounded > high) bounded = high;
  const T result = static_cast<T>(bounded);
  std::memcpy(element, &result, sizeof result);
}

}  // namespace

void convert_to_f32(int32_t dtype, const void* in, int64_t count, float* out) {
  switch (dtype) {
    case TAMIAS_F32: std::memcpy(out, in, static_cast<size_t>(count) * sizeof(float)); break;
    case TAMIAS_BF16: avx2::bf16_to_f32(static_cast<const uint16_t*>(in), count, out); break;
    case TAMIAS_F16: avx2::f16_to_f32(static_cast<const uint16_t*>(in), count, out); break;
    case TAMIAS_I8: widen<int8_t>(in, count, out); break;
    case TAMIAS_U8: widen<uint8_t>(in, count, out); break;
    case TAMIAS_U16: widen<uint16_t>(in, count, out); break;
    case TAMIAS_I32: widen<int32_t>(in, count, out); break;
    case TAMIAS_F8_E4M3: {
      const uint8_t* source = static_cast<const uint8_t*>(in);
      for (int64_t i = 0; i < count; ++i) out[i] = f8_to_f32(source[i]);
      break;
    }
  }
}

void convert_from_f32(int32_t dtype, const float* in, int64_t count, void* out) {
  switch (dtype) {
    case TAMIAS_F32: std::memcpy(out, in, static_cast<size_t>(count) * sizeof(float)); break;
    case TAMIAS_BF16: avx2::f32_to_bf16(in, count, static_cast<uint16_t*>(out)); break;
    case TAMIAS_F16: avx2::f32_to_f16(in, count, static_cast<uint16_t*>(out)); break;
    case TAMIAS_F8_E4M3: {
      uint8_t* bytes = static_cast<uint8_t*>(out);
      for (int64_t i = 0; i < count; ++i) bytes[i] = f32_to_f8(in[i]);
      break;
    }
  }
}

void convert_scalar(double value, int32_t dtype, void* element) {
  const float single = static_cast<float>(value);
  switch (dtype) {
    case TAMIAS_I8: saturate<int8_t>(value, element); break;
    case TAMIAS_U8: saturate<uint8_t>(value, element); break;
    case TAMIAS_U16: saturate<uint16_t>(value, element); break;
    case TAMIAS_I32: saturate<int32_t>(value, element); break;
    default: convert_from_f32(dtype, &single, 1, element); break;
  }
}

F32Rows::F32Rows(const View& view, Scratch& scratch) : view_(view) {
  if (!view || view.empty()) return;
  in_place_ = view.dtype == TAMIAS_F32 && (view.size(-1) == 1 || view.step(-1) == 1);
  if (!in_place_) offset_ = scratch.floats(view.elements());
}

void F32Rows::unpack(const Run& run) const {
  if (in_place_) return;
  const size_t size = dtype_size(view_.dtype);
  const int64_t columns = view_.size(-1);
  const int64_t rows = view_.rank == 2 ? view_.size(0) : 1;
  float* out = Scratch::at<float>(run, offset_);
  for (int64_t row = 0; row < rows; ++row) {
    const char* in = view_.data + (view_.rank == 2 ? row * view_.step(0) : 0) * static_cast<int64_t>(size);
    if (view_.step(-1) == 1) {
      convert_to_f32(view_.dtype, in, columns, out + row * columns);
      continue;
    }
    for (int64_t i = 0; i < columns; ++i) {
      convert_to_f32(view_.dtype, in + i * view_.step(-1) * static_cast<int64_t>(size), 1, out + row * columns + i);
    }
  }
}

const float* F32Rows::row(const Run& run, int64_t index) const {
  if (!view_) return nullptr;
  if (!in_place_) return Scratch::at<float>(run, offset_) + index * view_.size(-1);
  return view_.f32() + (view_.rank == 2 ? index * view_.step(0) : 0);
}

void pack_line(const char* line, int64_t step, int64_t count, size_t size, char* to) {
  if (step == 1) {
    std::memcpy(to, line, static_cast<size_t>(count) * size);
    return;
  }
  const int64_t distance = step * static_cast<int64_t>(size);
  for (int64_t i = 0; i < count; ++i) std::memcpy(to + static_cast<size_t>(i) * size, line + i * distance, size);
}

void unpack_line(const char* from, int64_t count, size_t size, char* line, int64_t step) {
  if (step == 1) {
    std::memcpy(line, from, static_cast<size_t>(count) * size);
    return;
  }
  const int64_t distance = step * static_cast<int64_t>(size);
  for (int64_t i = 0; i < count; ++i) std::memcpy(line + i * distance, from + static_cast<size_t>(i) * size, size);
}

}  // namespace tamias
