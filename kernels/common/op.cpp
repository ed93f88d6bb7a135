#include "op.h"

#include <algorithm>
#include <cmath>

#include "registry.h"
#include "runtime/stream.h"

namespace tamias {
namespace {

constexpr size_t kAlignment = 256;
constexpr int64_t kMostElements = int64_t{1} << 60;

std::string types_text(Types types) {
  std::string text;
  for (int32_t dtype = 0; dtype < 8; ++dtype) {
    if (!(types & type_bit(dtype))) continue;
    if (!text.empty()) text += " or ";
    text += dtype_name(dtype);
  }
  return text;
}

// Whether two index tuples might share an element: sorted by stride, each step must pass all that the smaller ones
// span.
bool repeats(const View& view) {
  int axes[TAMIAS_MAX_RANK];
  int count = 0;
  for (int axis = 0; axis < view.rank; ++axis) {
    if (view.shape[axis] <= 1) continue;
    int place = count++;
    for (; place > 0 && view.stride[axes[place - 1]] > view.stride[axis]; --place) axes[place] = axes[place - 1];
    axes[place] = axis;
  }
  int64_t span = 0;
  for (int i = 0; i < count; ++i) {
    const int axis = axes[i];
    if (view.stride[axis] <= span) return true;
    span += (view.shape[axis] - 1) * view.stride[axis];
  }
  return false;
}

bool gapless(const View& view) {
  return view.extent_bytes() == static_cast<uint64_t>(view.elements()) * dtype_size(view.dtype);
}

bool certainly_overlap(const View& a, const View& b) {
  if (!a || !b || a.empty() || b.empty()) return false;
  if (a.data == b.data) return true;
  const bool meet = a.data < b.data + b.extent_bytes() && b.data < a.data + a.extent_bytes();
  return meet && gapless(a) && gapless(b);
}

bool same_view(const View& a, const View& b) {
  if (a.data != b.data || a.dtype != b.dtype || !same_shape(a, b)) return false;
  for (int axis = 0; axis < a.rank; ++axis) {
    if (a.shape[axis] > 1 && a.stride[axis] != b.stride[axis]) return false;
  }
  return true;
}

}  // namespace

size_t Scratch::take(int64_t bytes) {
  if (bytes < 0 || bytes > kMost || bytes_ > static_cast<size_t>(kMost)) {
    fail(TAMIAS_OUT_OF_MEMORY, "the scratch memory of these shapes is beyond any machine");
  }
  const size_t offset = bytes_;
  bytes_ += (static_cast<size_t>(bytes) + kAlignment - 1) / kAlignment * kAlignment;
  return offset;
}

Op::Op(uint64_t stream)
    : stream_(find_handle<Stream>(stream)), allocations_lock_(stream_->device().allocations().mutex) {}

View Op::view(const char* name, const tamias_tensor* tensor, Types types, int rank_from, int rank_to,
              bool written) const {
  if (!tensor) refuse("%s is NULL", name);
  View view;
  view.name = name;
  view.data = reinterpret_cast<char*>(tensor->data);
  view.dtype = tensor->dtype;
  view.rank = tensor->rank;
  const size_t size = dtype_size(view.dtype);
  if (size == 0) refuse("%s has dtype %d, which does not exist", name, view.dtype);
  if (!(types & type_bit(view.dtype))) {
    refuse("%s is %s, expected %s", name, dtype_name(view.dtype), types_text(types).c_str());
  }
  if (view.rank < rank_from || view.rank > rank_to) {
    if (rank_from == rank_to) refuse("%s has rank %d, expected %d", name, view.rank, rank_from);
    refuse("%s has rank %d, expected %d to %d", name, view.rank, rank_from, rank_to);
  }
  unsigned __int128 last = 0;
  unsigned __int128 elements = 1;
  bool empty = false;
  for (int axis = 0; axis < view.rank; ++axis) {
    const int64_t length = view.shape[axis] = tensor->shape[axis];
    const int64_t stride = view.stride[axis] = tensor->stride[axis];
    if (length < 0) {
      refuse("%s has a negative dimension: %s", name, tamias::shape_text(tensor->shape, view.rank).c_str());
    }
    if (stride < 0) refuse("%s has stride %lld in dimension %d, expected 0 or more", name, (long long)stride, axis);
    if (length > kMostElements) refuse("%s has a dimension of %lld elements", name, (long long)length);
    if (length == 0) {
      empty = true;
      continue;
    }
    last += static_cast<unsigned __int128>(length - 1) * static_cast<uint64_t>(stride);
    elements *= static_cast<uint64_t>(length);
    if (elements > static_cast<uint64_t>(kMostElements) || last > static_cast<uint64_t>(kMostElements)) {
      refuse("%s is larger than any memory: %s", name, tamias::shape_text(tensor->shape, view.rank).c_str());
    }
  }
  if (empty) return view;
  if (tensor->data % size != 0) {
    refuse("%s is at 0x%llx, which is not aligned for %s", name, (unsigned long long)tensor->data,
           dtype_name(view.dtype));
  }
  const uint64_t bytes = (static_cast<uint64_t>(last) + 1) * size;
  const auto place = stream_->device().allocations().find(tensor->data, bytes);
  if (!place) {
    refuse("%s, %s at 0x%llx with an extent of %llu bytes, is not inside one live allocation of the stream's device",
           name, view.shape_text().c_str(), (unsigned long long)tensor->data, (unsigned long long)bytes);
  }
  view.on_host = *place == Place::host;
  if (written && repeats(view)) refuse("%s is written, but its strides let elements overlap", name);
  return view;
}

View Op::on_device(const View& view) const {
  if (view.on_host) refuse("%s is in host memory, which only copy and tensor_load take; copy it first", view.name);
  return view;
}

View Op::input(const char* name, const tamias_tensor* tensor, Types types, int rank_from, int rank_to) const {
  return on_device(view(name, tensor, types, rank_from, rank_to, false));
}

View Op::output(const char* name, const tamias_tensor* tensor, Types types, int rank_from, int rank_to) const {
  return on_device(view(name, tensor, types, rank_from, rank_to, true));
}

View Op::input_anywhere(const char* name, const tamias_tensor* tensor, Types types) const {
  return view(name, tensor, types, 1, TAMIAS_MAX_RANK, false);
}

View Op::output_anywhere(const char* name, const tamias_tensor* tensor, Types types) const {
  return view(name, tensor, types, 1, TAMIAS_MAX_RANK, true);
}

View Op::optional_input(const char* name, const tamias_tensor* tensor, Types types, int rank_from, int rank_to) const {
  return tensor ? input(name, tensor, types, rank_from, rank_to) : View{.name = name};
}

View Op::optional_output(const char* name, const tamias_tensor* tensor, Types types, int rank_from,
                         int rank_to) const {
  return tensor ? output(name, tensor, types, rank_from, rank_to) : View{.name = name};
}

void Op::rows(const View& view) const {
  if (view && !view.empty() && view.size(-1) > 1 && view.step(-1) != 1) {
    refuse("%s has stride %lld in its last dimension, expected 1", view.name, (long long)view.step(-1));
  }
}

void Op::contiguous(const View& view) const {
  if (view && !view.contiguous()) {
    refuse("%s of shape %s is not contiguous", view.name, view.shape_text().c_str());
  }
}

void Op::shape(const View& view, std::initializer_list<int64_t> expected) const {
  if (!view) return;
  const int rank = static_cast<int>(expected.size());
  if (view.rank == rank && std::equal(expected.begin(), expected.end(), view.shape)) return;
  refuse("%s has shape %s, expected %s", view.name, view.shape_text().c_str(),
         tamias::shape_text(expected.begin(), rank).c_str());
}

void Op::same_shape(const View& view, const View& like) const {
  if (!view || !like || tamias::same_shape(view, like)) return;
  refuse("%s has shape %s, but %s has %s", view.name, view.shape_text().c_str(), like.name, like.shape_text().c_str());
}

void Op::same_dtype(const View& view, const View& like) const {
  if (!view || !like || view.dtype == like.dtype) return;
  refuse("%s is %s, but %s is %s", view.name, dtype_name(view.dtype), like.name, dtype_name(like.dtype));
}

void Op::apart(const View& out, std::initializer_list<View> others) const {
  for (const View& other : others) {
    if (certainly_overlap(out, other)) refuse("%s overlaps %s", out.name, other.name);
  }
}

void Op::apart_or_same(const View& out, std::initializer_list<View> others) const {
  for (const View& other : others) {
    if (certainly_overlap(out, other) && !same_view(out, other)) {
      refuse("%s overlaps %s without being the same view", out.name, other.name);
    }
  }
}

void Op::activation(int32_t activation) {
  if (activation < TAMIAS_IDENTITY || activation > TAMIAS_QUICK_GELU) {
    refuse("activation is %d, expected 0 to %d", activation, TAMIAS_QUICK_GELU);
  }
}

void Op::epsilon(float value) {
  if (!(value >= 0) || std::isinf(value)) refuse("epsilon is %g, expected a finite number of at least 0", value);
}

void Op::workspace(uint64_t bytes) const { stream_->need_workspace(bytes); }
void Op::workspace(const Scratch& scratch) const { workspace(scratch.bytes()); }
void Op::submit(Task task) const { stream_->submit(std::move(task)); }
Device& Op::device() const { return stream_->device(); }

}  // namespace tamias
