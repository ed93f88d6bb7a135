#include <algorithm>
#include <cstring>

#include "../common/convert.h"
#include "common/checks/move.h"
#include "common/loops.h"
#include "../common/parallel.h"
#include "for_each_line.h"

using namespace tamias;

namespace {

using Nest = LoopNest<2>;  // out, in

constexpr int64_t kTile = 32;

// The dimension around the lines along which the input is contiguous, or -1: the copy is a transposition then.
int transposed_axis(const Nest& nest) {
  if (nest.step[0] != 1 || nest.step[1] == 1 || nest.length < 4) return -1;
  for (int axis = 0; axis < nest.rank; ++axis) {
    if (nest.stride[1][axis] == 1 && nest.shape[axis] >= 4) return axis;
  }
  return -1;
}

// Bands of `kTile` lines at a time, tile by tile, so that neither side loses its cache lines.
template <class T>
void transpose(const Run& run, const Nest& nest, int axis, T* out, const T* in) {
  Nest others = nest;
  const int64_t height = nest.shape[axis];
  const int64_t out_step = nest.stride[0][axis];
  const int64_t in_step = nest.step[1];
  for (int a = axis; a + 1 < nest.rank; ++a) {
    others.shape[a] = nest.shape[a + 1];
    for (int t = 0; t < 2; ++t) others.stride[t][a] = nest.stride[t][a + 1];
  }
  --others.rank;
  const int64_t bands = (height + kTile - 1) / kTile;
  const int64_t planes = nest.lines / height;
  parallel_for(run, planes * bands, std::min(height, kTile) * nest.length, [&](int64_t begin, int64_t end, int) {
    for (int64_t index = begin; index < end; ++index) {
      const auto place = others.at(index / bands);
      const int64_t first = index % bands * kTile;
      const int64_t last = std::min(first + kTile, height);
      for (int64_t column = 0; column < nest.length; column += kTile) {
        const int64_t column_end = std::min(column + kTile, nest.length);
        for (int64_t row = first; row < last; ++row) {
          T* to = out + place.offset[0] + row * out_step;
          const T* from = in + place.offset[1] + row;
          for (int64_t c = column; c < column_end; ++c) to[c] = from[c * in_step];
        }
      }
    }
  });
}

template <class T>
void copy_same(const Run& run, const Nest& nest, T* out, const T* in) {
  const int axis = transposed_axis(nest);
  if (axis >= 0) return transpose(run, nest, axis, out, in);
  const int64_t out_step = nest.step[0];
  const int64_t in_step = nest.step[1];
  for_each_line(run, nest, [&](const int64_t(&offset)[2], int64_t first, int64_t count) {
    T* to = out + offset[0] + first * out_step;
    const T* from = in + offset[1] + first * in_step;
    if (out_step == 1 && in_step == 1 && count > 8) {
      std::memcpy(to, from, static_cast<size_t>(count) * sizeof(T));
    } else {
      for (int64_t i = 0; i < count; ++i) to[i * out_step] = from[i * in_step];
    }
  });
}

void copy_converted(const Run& run, const Nest& nest, const View& out, const View& in) {
  constexpr int64_t kChunk = 512;
  const size_t in_size = dtype_size(in.dtype);
  const size_t out_size = dtype_size(out.dtype);
  for_each_line(run, nest, [&](const int64_t(&offset)[2], int64_t first, int64_t count) {
    alignas(64) char raw[kChunk * sizeof(float)];
    alignas(64) float values[kChunk];
    for (int64_t i = 0; i < count; i += kChunk) {
      const int64_t n = std::min(kChunk, count - i);
      const int64_t from = offset[1] + (first + i) * nest.step[1];
      const int64_t to = offset[0] + (first + i) * nest.step[0];
      pack_line(in.data + from * static_cast<int64_t>(in_size), nest.step[1], n, in_size, raw);
      convert_to_f32(in.dtype, raw, n, values);
      convert_from_f32(out.dtype, values, n, raw);
      unpack_line(raw, n, out_size, out.data + to * static_cast<int64_t>(out_size), nest.step[0]);
    }
  });
}

}  // namespace

extern "C" int32_t tamias_copy(uint64_t stream, const tamias_tensor* in, const tamias_tensor* out) {
  return run_op("copy", stream, [&](Op& op) {
    const CopyArguments arguments(op, in, out);
    const View& from = arguments.in;
    const View& to = arguments.out;
    if (to.empty()) return;
    op.submit([=](const Run& run) {
      const Nest nest({to, from});
      if (from.dtype != to.dtype) return copy_converted(run, nest, to, from);
      switch (dtype_size(to.dtype)) {
        case 4: return copy_same(run, nest, to.as<uint32_t>(), from.as<const uint32_t>());
        case 2: return copy_same(run, nest, to.as<uint16_t>(), from.as<const uint16_t>());
        default: return copy_same(run, nest, to.as<uint8_t>(), from.as<const uint8_t>());
      }
    });
  });
}
