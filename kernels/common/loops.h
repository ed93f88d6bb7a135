// Walking several tensors of one shape together, whatever their strides.
#pragma once

#include <cstdint>

#include "view.h"

namespace tamias {

// The nest of loops over `Count` tensors of the same shape: dimensions in the order of the first tensor's strides,
// largest first, neighbours merged where every tensor allows it. The innermost loop is a "line".
template <int Count>
struct LoopNest {
  int rank = 0;  // of the loops around the lines
  int64_t lines = 0;
  int64_t length = 0;  // of a line
  int64_t shape[TAMIAS_MAX_RANK] = {};
  int64_t stride[Count][TAMIAS_MAX_RANK] = {};
  int64_t step[Count] = {};  // stride along the line

  explicit LoopNest(const View (&views)[Count]);

  // A line's place: offsets in elements of each tensor.
  struct Place {
    int64_t index[TAMIAS_MAX_RANK] = {};
    int64_t offset[Count] = {};
  };

  Place at(int64_t line) const {
    Place place;
    for (int axis = rank - 1; axis >= 0; --axis) {
      place.index[axis] = line % shape[axis];
      line /= shape[axis];
      for (int t = 0; t < Count; ++t) place.offset[t] += place.index[axis] * stride[t][axis];
    }
    return place;
  }

  void advance(Place& place) const {
    for (int axis = rank - 1; axis >= 0; --axis) {
      for (int t = 0; t < Count; ++t) place.offset[t] += stride[t][axis];
      if (++place.index[axis] < shape[axis]) return;
      place.index[axis] = 0;
      for (int t = 0; t < Count; ++t) place.offset[t] -= shape[axis] * stride[t][axis];
    }
  }
};

template <int Count>
LoopNest<Count>::LoopNest(const View (&views)[Count]) {
  const View& first = views[0];
  int order[TAMIAS_MAX_RANK];
  int axes = 0;
  for (int axis = 0; axis < first.rank; ++axis) {
    if (first.shape[axis] == 1) continue;
    int place = axes++;
    for (; place > 0 && first.stride[order[place - 1]] < first.stride[axis]; --place) order[place] = order[place - 1];
    order[place] = axis;
  }
  int merged = 0;
  for (int k = 0; k < axes; ++k) {
    const int axis = order[k];
    bool joins = merged > 0;
    for (int t = 0; t < Count && joins; ++t) {
      joins = stride[t][merged - 1] == views[t].stride[axis] * views[t].shape[axis];
    }
    if (joins) {
      shape[merged - 1] *= first.shape[axis];
    } else {
      shape[merged++] = first.shape[axis];
    }
    for (int t = 0; t < Count; ++t) stride[t][merged - 1] = views[t].stride[axis];
  }
  if (merged == 0) {  // a single element
    shape[0] = 1;
    for (int t = 0; t < Count; ++t) stride[t][0] = 1;
    merged = 1;
  }
  rank = merged - 1;
  length = shape[rank];
  for (int t = 0; t < Count; ++t) step[t] = stride[t][rank];
  lines = 1;
  for (int axis = 0; axis < rank; ++axis) lines *= shape[axis];
}

// Offset in elements of row `index`, counted over all dimensions but the last.
inline int64_t row_offset(const View& view, int64_t index) {
  int64_t offset = 0;
  for (int axis = view.rank - 2; axis >= 0; --axis) {
    offset += index % view.shape[axis] * view.stride[axis];
    index /= view.shape[axis];
  }
  return offset;
}

inline int64_t row_count(const View& view) {
  int64_t rows = 1;
  for (int axis = 0; axis < view.rank - 1; ++axis) rows *= view.shape[axis];
  return rows;
}

}  // namespace tamias
