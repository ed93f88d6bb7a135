#include "view.h"

namespace tamias {

size_t dtype_size(int32_t dtype) {
  switch (dtype) {
    case TAMIAS_F32:
    case TAMIAS_I32: return 4;
    case TAMIAS_BF16:
    case TAMIAS_F16:
    case TAMIAS_U16: return 2;
    case TAMIAS_I8:
    case TAMIAS_F8_E4M3:
    case TAMIAS_U8: return 1;
    default: return 0;
  }
}

const char* dtype_name(int32_t dtype) {
  switch (dtype) {
    case TAMIAS_F32: return "F32";
    case TAMIAS_BF16: return "BF16";
    case TAMIAS_F16: return "F16";
    case TAMIAS_I8: return "I8";
    case TAMIAS_F8_E4M3: return "F8_E4M3";
    case TAMIAS_I32: return "I32";
    case TAMIAS_U16: return "U16";
    case TAMIAS_U8: return "U8";
    default: return "an unknown dtype";
  }
}

int64_t View::elements() const {
  int64_t product = 1;
  for (int axis = 0; axis < rank; ++axis) product *= shape[axis];
  return product;
}

bool View::contiguous() const {
  int64_t expected = 1;
  for (int axis = rank - 1; axis >= 0; --axis) {
    if (shape[axis] == 0) return true;
    if (shape[axis] != 1 && stride[axis] != expected) return false;
    expected *= shape[axis];
  }
  return true;
}

uint64_t View::extent_bytes() const {
  uint64_t last = 0;
  for (int axis = 0; axis < rank; ++axis) {
    if (shape[axis] == 0) return 0;
    last += static_cast<uint64_t>(shape[axis] - 1) * static_cast<uint64_t>(stride[axis]);
  }
  return (last + 1) * dtype_size(dtype);
}

std::string shape_text(const int64_t* shape, int rank) {
  std::string text = "[";
  for (int axis = 0; axis < rank; ++axis) {
    if (axis) text += ", ";
    text += std::to_string(shape[axis]);
  }
  return text + "]";
}

std::string View::shape_text() const { return tamias::shape_text(shape, rank); }

bool same_shape(const View& a, const View& b) {
  if (a.rank != b.rank) return false;
  for (int axis = 0; axis < a.rank; ++axis) {
    if (a.shape[axis] != b.shape[axis]) return false;
  }
  return true;
}

}  // namespace tamias
