#include "any_element.cuh"
#include "common/checks/move.h"
#include "map.cuh"

using namespace tamias;

namespace {

constexpr int kThreads = 256;

struct Identity {
  __device__ float operator()(const float (&x)[1]) const { return x[0]; }
};

// Units of neighbouring elements, as bytes; steps and strides are in units of the type.
template <class Unit>
__global__ __launch_bounds__(kThreads) void copy_units(const Walk<2> walk, Unit* out, const Unit* in) {
  constexpr int kUnits = 4;  // a thread
  const uint32_t first = blockIdx.x * (kThreads * kUnits) + threadIdx.x;
  Unit values[kUnits];
  int64_t offset[kUnits][2];
#pragma unroll
  for (int u = 0; u < kUnits; ++u) {
    if (first + u * kThreads >= walk.units) continue;
    walk.find(first + u * kThreads, offset[u]);
    values[u] = in[offset[u][1]];
  }
#pragma unroll
  for (int u = 0; u < kUnits; ++u) {
    if (first + u * kThreads < walk.units) out[offset[u][0]] = values[u];
  }
}

template <class Unit>
void copy_as(const Run& run, LoopNest<2> nest, int64_t unit, const View& out, const View& in) {
  Walk<2> walk(nest, unit);
  for (int t = 0; t < 2; ++t) {
    walk.step[t] /= unit;
    for (int axis = 0; axis < walk.rank; ++axis) walk.stride[t][axis] /= unit;
  }
  const unsigned blocks = (walk.units + 4 * kThreads - 1) / (4 * kThreads);
  copy_units<<<blocks, kThreads, 0, run.stream>>>(walk, out.as<Unit>(), in.as<const Unit>());
}

constexpr int kTile = 64;
constexpr int kTileRows = 8;

// Where the two sides have different fast axes. Lines lie along out's; `height` is the axis along which `in` is
// contiguous.
struct Transposition {
  uint32_t length, height;
  int64_t in_step;     // from element to element of a line
  int64_t out_stride;  // from line to line
  Walk<2> planes;
};

template <class T>
__global__ __launch_bounds__(kTile* kTileRows) void transpose_tiles(const Transposition transposition, T* out,
                                                                    const T* in) {
  __shared__ T tile[kTile][kTile + 4 / sizeof(T)];
  int64_t offset[2];
  transposition.planes.find(blockIdx.z, offset);
  const uint32_t line = blockIdx.y * kTile;
  const uint32_t column = blockIdx.x * kTile;
#pragma unroll
  for (int i = 0; i < kTile; i += kTileRows) {
    const uint32_t c = column + threadIdx.y + i;
    const uint32_t l = line + threadIdx.x;
    if (c < transposition.length && l < transposition.height) {
      tile[threadIdx.y + i][threadIdx.x] = in[offset[1] + c * transposition.in_step + l];
    }
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kTile; i += kTileRows) {
    const uint32_t l = line + threadIdx.y + i;
    const uint32_t c = column + threadIdx.x;
    if (c < transposition.length && l < transposition.height) {
      out[offset[0] + l * transposition.out_stride + c] = tile[threadIdx.x][threadIdx.y + i];
    }
  }
}

// The axis around the lines along which the input is contiguous, or -1: the copy is a transposition then.
int transposed_axis(const LoopNest<2>& nest) {
  if (nest.step[0] != 1 || nest.step[1] == 1 || nest.length < 16) return -1;
  for (int axis = 0; axis < nest.rank; ++axis) {
    if (nest.stride[1][axis] == 1 && nest.shape[axis] >= 16) return axis;
  }
  return -1;
}

template <class T>
bool transpose(const Run& run, const LoopNest<2>& nest, int axis, const View& out, const View& in) {
  LoopNest<2> planes = nest;
  for (int a = axis; a + 1 < nest.rank; ++a) {
    planes.shape[a] = nest.shape[a + 1];
    for (int t = 0; t < 2; ++t) planes.stride[t][a] = nest.stride[t][a + 1];
  }
  planes.rank = nest.rank - 1;
  planes.lines = nest.lines / nest.shape[axis];
  planes.length = 1;
  const Transposition transposition = {static_cast<uint32_t>(nest.length), static_cast<uint32_t>(nest.shape[axis]),
                                       nest.step[1], nest.stride[0][axis], Walk<2>(planes, 1)};
  const dim3 grid((transposition.length + kTile - 1) / kTile, (transposition.height + kTile - 1) / kTile,
                  static_cast<unsigned>(planes.lines));
  if (grid.y > 65535 || grid.z > 65535) return false;
  transpose_tiles<<<grid, dim3(kTile, kTileRows), 0, run.stream>>>(transposition, out.as<T>(), in.as<const T>());
  return true;
}

template <class T>
void copy_same(const Run& run, const View& out, const View& in) {
  const LoopNest<2> nest({out, in});
  const int axis = transposed_axis(nest);
  if (axis >= 0 && transpose<T>(run, nest, axis, out, in)) return;
  constexpr int64_t kSize = sizeof(T);
  // A repeated element is no unit of several.
  const View views[2] = {out, in};
  const auto divides = [&](int64_t bytes) {
    return nest.step[1] == 1 && lines_divide(nest, views, bytes / kSize, 16);
  };
  if (divides(16)) return copy_as<uint4>(run, nest, 16 / kSize, out, in);
  if (divides(8)) return copy_as<uint2>(run, nest, 8 / kSize, out, in);
  if (kSize < 4 && divides(4)) return copy_as<uint32_t>(run, nest, 4 / kSize, out, in);
  copy_as<T>(run, nest, 1, out, in);
}

__global__ __launch_bounds__(kThreads) void convert_elements(const Walk<2> walk, const Operand out,
                                                             const Operand in) {
  const uint32_t unit = blockIdx.x * kThreads + threadIdx.x;
  if (unit >= walk.units) return;
  int64_t offset[2];
  walk.find(unit, offset);
  any_from_float(out.data, out.dtype, offset[0], any_to_float(in.data, in.dtype, offset[1]));
}

void convert(const Run& run, const View& out, const View& in) {
  if ((type_bit(out.dtype) | type_bit(in.dtype)) == kActivations) return map(run, Identity(), {out, in});
  for_each_part({out, in}, [&](const View(&part)[2]) {
    const Walk<2> walk(LoopNest<2>(part), 1);
    convert_elements<<<(walk.units + kThreads - 1) / kThreads, kThreads, 0, run.stream>>>(
        walk, {part[0].data, part[0].dtype, false}, {part[1].data, part[1].dtype, false});
  });
}

// The copy engines work beside the multiprocessors.
bool passes_by_dma(const View& out, const View& in) {
  return out.on_host != in.on_host && out.dtype == in.dtype && out.contiguous() && in.contiguous();
}

}  // namespace

extern "C" int32_t tamias_copy(uint64_t stream, const tamias_tensor* in, const tamias_tensor* out) {
  return run_op("copy", stream, [&](Op& op) {
    const CopyArguments arguments(op, in, out);
    if (arguments.out.empty()) return;
    op.submit([=](const Run& run) {
      const View& from = arguments.in;
      const View& to = arguments.out;
      if (passes_by_dma(to, from)) {
        const auto bytes = static_cast<size_t>(to.extent_bytes());
        return check_cuda(cudaMemcpyAsync(to.data, from.data, bytes, cudaMemcpyDefault, run.stream), "copying");
      }
      if (from.dtype != to.dtype) return convert(run, to, from);
      for_each_part({to, from}, [&](const View(&part)[2]) {
        switch (dtype_size(to.dtype)) {
          case 4: return copy_same<uint32_t>(run, part[0], part[1]);
          case 2: return copy_same<uint16_t>(run, part[0], part[1]);
          default: return copy_same<uint8_t>(run, part[0], part[1]);
        }
      });
    });
  });
}
