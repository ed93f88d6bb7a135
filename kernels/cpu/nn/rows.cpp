// Ops on whole rows: gather_rows, scale_rows, row_norms, block_means.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "../common/convert.h"
#include "common/checks/move.h"
#include "common/checks/rows.h"
#include "common/loops.h"
#include "../common/parallel.h"
#include "kernels.h"

using namespace tamias;

namespace {

constexpr int64_t kChunk = 1024;

// Calls body(chunk, first, count) with F32 pieces of a row.
template <class Body>
void for_each_chunk(int32_t dtype, const char* row, int64_t count, const Body& body) {
  if (dtype == TAMIAS_F32) return body(reinterpret_cast<const float*>(row), int64_t{0}, count);
  const auto size = static_cast<int64_t>(dtype_size(dtype));
  alignas(64) float values[kChunk];
  for (int64_t i = 0; i < count; i += kChunk) {
    const int64_t n = std::min(kChunk, count - i);
    convert_to_f32(dtype, row + i * size, n, values);
    body(values, i, n);
  }
}

char* row_data(const View& view, int64_t row) {
  return view.data + row_offset(view, row) * static_cast<int64_t>(dtype_size(view.dtype));
}

}  // namespace

extern "C" int32_t tamias_gather_rows(uint64_t stream, const tamias_tensor* table, const tamias_tensor* indices,
                                      const tamias_tensor* out) {
  return run_op("gather_rows", stream, [&](Op& op) {
    const GatherArguments arguments(op, table, indices, out);
    const View& from = arguments.table;
    const View& chosen = arguments.indices;
    const View& result = arguments.out;
    const int64_t n = chosen.size(0);
    const int64_t d = from.size(-1);
    if (result.empty()) return;
    op.submit([=](const Run& run) {
      const int64_t rows = from.size(-2);
      const size_t bytes = static_cast<size_t>(d) * dtype_size(from.dtype);
      parallel_for(run, row_count(result), d, [&](int64_t begin, int64_t end, int) {
        for (int64_t row = begin; row < end; ++row) {
          const int64_t wanted = chosen.as<int32_t>()[row % n * chosen.step(0)];
          const int64_t source = row / n * rows + std::clamp<int64_t>(wanted, 0, rows - 1);
          const char* in = row_data(from, source);
          char* to = row_data(result, row);
          if (from.dtype == result.dtype) {
            std::memcpy(to, in, bytes);
            continue;
          }
          const auto size = static_cast<int64_t>(dtype_size(result.dtype));
          for_each_chunk(from.dtype, in, d, [&](const float* values, int64_t first, int64_t count) {
            convert_from_f32(result.dtype, values, count, to + first * size);
          });
        }
      });
    });
  });
}

extern "C" int32_t tamias_scale_rows(uint64_t stream, const tamias_tensor* x, const tamias_tensor* scale) {
  return run_op("scale_rows", stream, [&](Op& op) {
    const ScaleRowsArguments arguments(op, x, scale);
    const View& scaled = arguments.x;
    const View& factors = arguments.scale;
    if (scaled.empty()) return;
    op.submit([=](const Run& run) {
      const auto& kernels = norms(run.isa);
      const int64_t columns = scaled.size(1);
      const auto size = static_cast<int64_t>(dtype_size(scaled.dtype));
      parallel_for(run, scaled.size(0), columns, [&](int64_t begin, int64_t end, int) {
        for (int64_t row = begin; row < end; ++row) {
          const float factor = factors.f32()[row * arguments.scale_step];
          char* data = row_data(scaled, row);
          if (scaled.dtype == TAMIAS_F32) {
            kernels.scale(factor, reinterpret_cast<float*>(data), columns);
            continue;
          }
          alignas(64) float values[kChunk];
          for (int64_t i = 0; i < columns; i += kChunk) {
            const int64_t n = std::min(kChunk, columns - i);
            convert_to_f32(scaled.dtype, data + i * size, n, values);
            kernels.scale(factor, values, n);
            convert_from_f32(scaled.dtype, values, n, data + i * size);
          }
        }
      });
    });
  });
}

extern "C" int32_t tamias_row_norms(uint64_t stream, const tamias_tensor* x, const tamias_tensor* out) {
  return run_op("row_norms", stream, [&](Op& op) {
    const RowNormsArguments arguments(op, x, out);
    const View& in = arguments.x;
    const View& result = arguments.out;
    if (result.empty()) return;
    op.submit([=](const Run& run) {
      const auto& kernels = norms(run.isa);
      parallel_for(run, in.size(0), in.size(1), [&](int64_t begin, int64_t end, int) {
        for (int64_t row = begin; row < end; ++row) {
          double squares = 0;
          if (!in.empty()) {
            for_each_chunk(in.dtype, row_data(in, row), in.size(1), [&](const float* values, int64_t, int64_t count) {
              squares += kernels.sum_of_squares(values, 0.0f, count);
            });
          }
          result.f32()[row * result.step(0)] = static_cast<float>(std::sqrt(squares));
        }
      });
    });
  });
}

extern "C" int32_t tamias_block_means(uint64_t stream, const tamias_tensor* x, int64_t group,
                                      const tamias_tensor* out) {
  return run_op("block_means", stream, [&](Op& op) {
    const BlockMeansArguments arguments(op, x, group, out);
    const View& in = arguments.x;
    const View& result = arguments.out;
    const int64_t tokens = in.size(1);
    const int64_t groups = arguments.groups;
    const int64_t d = in.size(2);
    if (result.empty()) return;
    op.submit([=](const Run& run) {
      const auto& kernels = norms(run.isa);
      parallel_for(run, in.size(0) * groups, std::min(group, tokens) * d, [&](int64_t begin, int64_t end, int) {
        for (int64_t index = begin; index < end; ++index) {
          const int64_t batch = index / groups;
          const int64_t first = index % groups * group;
          const int64_t last = first + std::min(group, tokens - first);
          float* mean = result.f32() + row_offset(result, index);
          std::fill_n(mean, d, 0.0f);
          for (int64_t token = first; token < last; ++token) {
            kernels.add(in.f32() + batch * in.step(0) + token * in.step(1), mean, d);
          }
          kernels.scale(1.0f / static_cast<float>(last - first), mean, d);
        }
      });
    });
  });
}
