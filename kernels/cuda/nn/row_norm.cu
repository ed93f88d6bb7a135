// layer_norm, rms_norm.
#include <algorithm>

#include "common/checks/norm.h"
#include "pieces.cuh"
#include "reduce.cuh"
#include "runtime/check.h"
#include "runtime/run.h"

using namespace tamias;

namespace {

constexpr int kOwn = 16;  // elements of a row that a thread keeps
constexpr int kMostThreads = 1024;

// A row of `d` parameters for all rows of a batch; data is null if it is absent.
struct NormParameter {
  const void* data;
  int32_t dtype;
  int64_t batch, step;

  explicit NormParameter(const View& view)
      : data(view.data), dtype(view.dtype), batch(view.rank == 2 ? view.step(0) : 0), step(view ? view.step(-1) : 0) {}
};

struct NormProblem {
  const void* x;
  void* out;
  int32_t x_dtype, out_dtype;
  int64_t x_stride[3], out_stride[3];  // of all dimensions but the last
  int64_t shape[3];
  int64_t d;
  float epsilon;
  NormParameter weight, bias, scale, shift;  // a batch is the first of the three dimensions
};

// This thread's elements of a row: whole pieces, or single elements, with the other threads' in between.
template <bool kPacked>
struct Share {
  int64_t first, d;

  __device__ Share(int64_t chunk, int64_t d) : first(chunk * blockDim.x * kOwn + threadIdx.x * (kPacked ? kPiece : 1)), d(d) {}

  // Calls visit(piece or element number, its place).
  template <class Visit>
  __device__ __forceinline__ void for_each(Visit visit) const {
    constexpr int kSize = kPacked ? kPiece : 1;
#pragma unroll
    for (int i = 0; i < kOwn / kSize; ++i) {
      const int64_t at = first + static_cast<int64_t>(i) * blockDim.x * kSize;
      if (at < d) visit(i, at);
    }
  }
};

__device__ __forceinline__ void load_piece_of(const NormParameter& parameter, int64_t offset, int64_t at,
                                              float (&values)[kPiece]) {
  unpack_piece(load_piece(parameter.data, parameter.dtype, offset + at), parameter.dtype, values);
}

template <bool kCentred, bool kPacked>
__global__ __launch_bounds__(kMostThreads) void norm_rows(const NormProblem problem) {
  __shared__ float sums[2][32];
  int64_t row = blockIdx.x;
  int64_t from = 0;
  int64_t to = 0;
  int64_t batch = 0;
#pragma unroll
  for (int axis = 2; axis >= 0; --axis) {
    const int64_t place = axis ? row % problem.shape[axis] : row;
    row /= problem.shape[axis];
    from += place * problem.x_stride[axis];
    to += place * problem.out_stride[axis];
    batch = place;
  }
  float values[kOwn];
  const auto load = [&](int64_t chunk) {
#pragma unroll
    for (int i = 0; i < kOwn; ++i) values[i] = 0;
    if constexpr (kPacked) {
      RawPiece raw[kOwn / kPiece];
      const Share<true> share(chunk, problem.d);
      share.for_each([&](int i, int64_t at) { raw[i] = load_piece(problem.x, problem.x_dtype, from + at); });
      share.for_each([&](int i, int64_t) {
        float piece[kPiece];
        unpack_piece(raw[i], problem.x_dtype, piece);
#pragma unroll
        for (int k = 0; k < kPiece; ++k) values[i * kPiece + k] = piece[k];
      });
    } else {
      Share<false>(chunk, problem.d).for_each([&](int i, int64_t at) {
        values[i] = load_element(problem.x, problem.x_dtype, from + at);
      });
    }
  };
  // How many of this thread's values in `chunk` are in the row; the rest are 0.
  const auto for_each_value = [&](int64_t chunk, auto visit) {
    constexpr int kSize = kPacked ? kPiece : 1;
    Share<kPacked>(chunk, problem.d).for_each([&](int i, int64_t) {
#pragma unroll
      for (int k = 0; k < kSize; ++k) visit(values[i * kSize + k]);
    });
  };
  const int64_t chunks = (problem.d + blockDim.x * kOwn - 1) / (blockDim.x * kOwn);
  const auto count = static_cast<float>(problem.d);
  load(0);
  float mean = 0;
  if constexpr (kCentred) {
    float sum = 0;
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      if (chunks > 1) load(chunk);
      for_each_value(chunk, [&](float value) { sum += value; });
    }
    mean = sum_of_block(sum, sums[0]) / count;
  }
  float squares = 0;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    if (chunks > 1) load(chunk);
    for_each_value(chunk, [&](float value) { squares += (value - mean) * (value - mean); });
  }
  const float factor = 1.0f / sqrtf(sum_of_block(squares, sums[1]) / count + problem.epsilon);

  const int64_t scale_offset = batch * problem.scale.batch;
  const int64_t shift_offset = batch * problem.shift.batch;
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    if (chunks > 1) load(chunk);
    const Share<kPacked> share(chunk, problem.d);
    if constexpr (kPacked) {
      share.for_each([&](int i, int64_t at) {
        float y[kPiece];
        float p[kPiece];
#pragma unroll
        for (int k = 0; k < kPiece; ++k) y[k] = (values[i * kPiece + k] - mean) * factor;
        if (problem.weight.data) {
          load_piece_of(problem.weight, 0, at, p);
#pragma unroll
          for (int k = 0; k < kPiece; ++k) y[k] *= p[k];
        }
        if (kCentred && problem.bias.data) {
          load_piece_of(problem.bias, 0, at, p);
#pragma unroll
          for (int k = 0; k < kPiece; ++k) y[k] += p[k];
        }
        if (kCentred && problem.scale.data) {
          load_piece_of(problem.scale, scale_offset, at, p);
#pragma unroll
          for (int k = 0; k < kPiece; ++k) y[k] = fmaf(y[k], p[k], y[k]);
        }
        if (kCentred && problem.shift.data) {
          load_piece_of(problem.shift, shift_offset, at, p);
#pragma unroll
          for (int k = 0; k < kPiece; ++k) y[k] += p[k];
        }
        store_piece(problem.out, problem.out_dtype, to + at, y);
      });
    } else {
      const auto at_of = [](const NormParameter& parameter, int64_t offset, int64_t at) {
        return load_element(parameter.data, parameter.dtype, offset + at * parameter.step);
      };
      share.for_each([&](int i, int64_t at) {
        float y = (values[i] - mean) * factor;
        if (problem.weight.data) y *= at_of(problem.weight, 0, at);
        if (kCentred && problem.bias.data) y += at_of(problem.bias, 0, at);
        if (kCentred && problem.scale.data) y = fmaf(y, at_of(problem.scale, scale_offset, at), y);
        if (kCentred && problem.shift.data) y += at_of(problem.shift, shift_offset, at);
        store_element(problem.out, problem.out_dtype, to + at, y);
      });
    }
  }
}

template <bool kCentred>
void launch(const Run& run, const View& x, const View& out, const View& weight, const View& bias, const View& scale,
            const View& shift, float epsilon) {
  NormProblem problem = {x.data, out.data, x.dtype, out.dtype, {}, {}, {1, 1, 1}, x.size(-1), epsilon,
                         NormParameter(weight), NormParameter(bias), NormParameter(scale), NormParameter(shift)};
  int64_t rows = 1;
  for (int axis = 0; axis + 1 < x.rank; ++axis) {
    rows *= problem.shape[axis] = x.shape[axis];
    problem.x_stride[axis] = x.stride[axis];
    problem.out_stride[axis] = out.stride[axis];
  }
  if (rows > INT32_MAX) refuse("x has %lld rows, more than a grid", (long long)rows);
  bool packed = true;
  for (const View* view : {&x, &out, &weight, &bias, &scale, &shift}) packed = packed && rows_have_pieces(*view);
  const int64_t wanted = (problem.d + kOwn - 1) / kOwn;
  const int threads = static_cast<int>(std::min<int64_t>((wanted + 31) / 32 * 32, kMostThreads));
  const auto kernel = packed ? norm_rows<kCentred, true> : norm_rows<kCentred, false>;
  kernel<<<static_cast<unsigned>(rows), threads, 0, run.stream>>>(problem);
}

}  // namespace

extern "C" int32_t tamias_layer_norm(uint64_t stream, const tamias_tensor* x, const tamias_tensor* weight,
                                     const tamias_tensor* bias, const tamias_tensor* scale, const tamias_tensor* shift,
                                     float epsilon, const tamias_tensor* out) {
  return run_op("layer_norm", stream, [&](Op& op) {
    const LayerNormArguments a(op, x, weight, bias, scale, shift, epsilon, out);
    if (a.out.empty()) return;
    op.submit([=](const Run& run) {
      launch<true>(run, a.x, a.out, a.weight, a.bias, a.scale, a.shift, a.epsilon);
    });
  });
}

extern "C" int32_t tamias_rms_norm(uint64_t stream, const tamias_tensor* x, const tamias_tensor* weight, float epsilon,
                                   const tamias_tensor* out) {
  return run_op("rms_norm", stream, [&](Op& op) {
    const RmsNormArguments a(op, x, weight, epsilon, out);
    if (a.out.empty()) return;
    const View none;
    op.submit([=](const Run& run) { launch<false>(run, a.x, a.out, a.weight, none, none, none, a.epsilon); });
  });
}
