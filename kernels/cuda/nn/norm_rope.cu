#include <bit>

#include "common/checks/norm.h"
#include "pieces.cuh"
#include "reduce.cuh"
#include "runtime/check.h"
#include "runtime/run.h"
#include "walk.h"

using namespace tamias;

namespace {

constexpr int kThreads = 256;
constexpr int kHeads = 4;  // that a thread handles with the same angles

struct Rope {
  const void* x;
  void* out;
  int32_t x_dtype, out_dtype;
  int64_t x_stride[3], out_stride[3];
  int64_t batch, heads, tokens, head_dim;
  const void* weight;  // null: no norm
  int32_t weight_dtype;
  int64_t weight_step;
  float epsilon;
  const float* cos;  // null: no rotation
  const float* sin;
  int64_t cos_row, cos_step, sin_row, sin_step;
  bool halves;
};

__device__ __forceinline__ float norm_factor(const Rope& rope, float squares) {
  return 1.0f / sqrtf(squares / static_cast<float>(rope.head_dim) + rope.epsilon);
}

__device__ __forceinline__ void load_angles(const float* row, float (&angles)[kPiece / 2]) {
  const float4 values = *reinterpret_cast<const float4*>(row);
  angles[0] = values.x;
  angles[1] = values.y;
  angles[2] = values.z;
  angles[3] = values.w;
}

// A piece of a head per thread; 2^lane_bits have a head. They take some heads of one token, one after the other: angles
// and weight are read once for all. blockIdx.y is the batch.
__global__ __launch_bounds__(kThreads) void rope_pieces(const Rope rope, int lane_bits, const FastDivisor head_chunks,
                                                        uint32_t items) {
  const uint32_t lanes = 1u << lane_bits;
  const uint32_t index = blockIdx.x * kThreads + threadIdx.x;
  const bool exists = index >> lane_bits < items;
  const uint32_t item = min(index >> lane_bits, items - 1);  // whole warps stay for the shuffles
  const uint32_t lane = index & (lanes - 1);
  uint32_t head_chunk;
  const int64_t token = head_chunks.divide(item, head_chunk);
  const int64_t first_head = head_chunk * kHeads;
  const int64_t batch = blockIdx.y;
  const int64_t from = batch * rope.x_stride[0] + token * rope.x_stride[2] + lane * kPiece;
  const int64_t to = batch * rope.out_stride[0] + token * rope.out_stride[2] + lane * kPiece;

  RawPiece raw[kHeads] = {};
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
    if (exists && first_head + h < rope.heads) {
      raw[h] = load_piece(rope.x, rope.x_dtype, from + (first_head + h) * rope.x_stride[1]);
    }
  }
  float weight[kPiece];
#pragma unroll
  for (int k = 0; k < kPiece; ++k) weight[k] = 1;
  if (rope.weight) {
    unpack_piece(load_piece(rope.weight, rope.weight_dtype, lane * kPiece), rope.weight_dtype, weight);
  }
  // Pairs: the piece's own 4 angles. Halves: 8, of the piece's place in its half.
  const uint32_t half_lanes = lanes / 2;
  const bool second_half = lane >= half_lanes;
  const uint32_t first_angle = rope.halves ? (second_half ? lane - half_lanes : lane) * kPiece : lane * kPiece / 2;
  float cos[2][kPiece / 2];
  float sin[2][kPiece / 2];
  if (rope.cos) {
    const float* cos_row = rope.cos + token * rope.cos_row + first_angle;
    const float* sin_row = rope.sin + token * rope.sin_row + first_angle;
    load_angles(cos_row, cos[0]);
    load_angles(sin_row, sin[0]);
    if (rope.halves) {
      load_angles(cos_row + kPiece / 2, cos[1]);
      load_angles(sin_row + kPiece / 2, sin[1]);
    }
  }
#pragma unroll
  for (int h = 0; h < kHeads; ++h) {
    float y[kPiece];
    unpack_piece(raw[h], rope.x_dtype, y);
    if (rope.weight) {
      float squares = 0;
#pragma unroll
      for (int k = 0; k < kPiece; ++k) squares += y[k] * y[k];
      for (uint32_t distance = half_lanes; distance > 0; distance /= 2) {
        squares += __shfl_xor_sync(0xffffffffu, squares, distance);
      }
      const float factor = norm_factor(rope, squares);
#pragma unroll
      for (int k = 0; k < kPiece; ++k) y[k] *= factor * weight[k];
    }
    if (rope.cos && !rope.halves) {
#pragma unroll
      for (int k = 0; k < kPiece; k += 2) {
        const float even = y[k];
        const float odd = y[k + 1];
        y[k] = even * cos[0][k / 2] - odd * sin[0][k / 2];
        y[k + 1] = even * sin[0][k / 2] + odd * cos[0][k / 2];
      }
    } else if (rope.cos) {
#pragma unroll
      for (int k = 0; k < kPiece; ++k) {
        const float other = __shfl_xor_sync(0xffffffffu, y[k], half_lanes);
        const float s = sin[k / 4][k % 4];
        y[k] = fmaf(other, second_half ? s : -s, y[k] * cos[k / 4][k % 4]);
      }
    }
    if (exists && first_head + h < rope.heads) {
      store_piece(rope.out, rope.out_dtype, to + (first_head + h) * rope.out_stride[1], y);
    }
  }
}

// Any head and strides, a warp for each row. A pair is read and written by one thread, so that it may be in place.
__global__ __launch_bounds__(kThreads) void rope_elements(const Rope rope, int64_t rows) {
  const int64_t row = blockIdx.x * int64_t{kThreads / 32} + threadIdx.x / 32;
  if (row >= rows) return;
  const int64_t token = row % rope.tokens;
  const int64_t head = row / rope.tokens % rope.heads;
  const int64_t batch = row / rope.tokens / rope.heads;
  const int64_t from = batch * rope.x_stride[0] + head * rope.x_stride[1] + token * rope.x_stride[2];
  const int64_t to = batch * rope.out_stride[0] + head * rope.out_stride[1] + token * rope.out_stride[2];
  const int64_t lane = threadIdx.x % 32;
  float factor = 1;
  if (rope.weight) {
    float squares = 0;
    for (int64_t i = lane; i < rope.head_dim; i += 32) {
      const float value = load_element(rope.x, rope.x_dtype, from + i);
      squares += value * value;
    }
    factor = norm_factor(rope, warp_sum(squares));
  }
  const auto value_at = [&](int64_t i) {
    const float value = load_element(rope.x, rope.x_dtype, from + i) * factor;
    return rope.weight ? value * load_element(rope.weight, rope.weight_dtype, i * rope.weight_step) : value;
  };
  if (!rope.cos) {
    for (int64_t i = lane; i < rope.head_dim; i += 32) store_element(rope.out, rope.out_dtype, to + i, value_at(i));
    return;
  }
  const int64_t half = rope.head_dim / 2;
  for (int64_t pair = lane; pair < half; pair += 32) {
    const int64_t first = rope.halves ? pair : 2 * pair;
    const int64_t second = rope.halves ? pair + half : first + 1;
    const float a = value_at(first);
    const float b = value_at(second);
    const float c = rope.cos[token * rope.cos_row + pair * rope.cos_step];
    const float s = rope.sin[token * rope.sin_row + pair * rope.sin_step];
    store_element(rope.out, rope.out_dtype, to + first, a * c - b * s);
    store_element(rope.out, rope.out_dtype, to + second, a * s + b * c);
  }
}

bool has_aligned_rows(const View& angles) {
  return !angles || (angles.step(1) == 1 && angles.step(0) % 4 == 0 &&
                     reinterpret_cast<uint64_t>(angles.data) % sizeof(float4) == 0);
}

void launch(const Run& run, const NormRopeArguments& a) {
  const View& x = a.x;
  Rope rope = {};
  rope.x = x.data;
  rope.out = a.out.data;
  rope.x_dtype = x.dtype;
  rope.out_dtype = a.out.dtype;
  for (int axis = 0; axis < 3; ++axis) {
    rope.x_stride[axis] = x.stride[axis];
    rope.out_stride[axis] = a.out.stride[axis];
  }
  rope.batch = x.size(0);
  rope.heads = x.size(1);
  rope.tokens = x.size(2);
  rope.head_dim = x.size(3);
  rope.epsilon = a.epsilon;
  rope.halves = a.halves;
  if (a.weight) {
    rope.weight = a.weight.data;
    rope.weight_dtype = a.weight.dtype;
    rope.weight_step = a.weight.step(0);
  }
  if (a.cos) {
    rope.cos = a.cos.f32();
    rope.sin = a.sin.f32();
    rope.cos_row = a.cos.step(0);
    rope.cos_step = a.cos.step(1);
    rope.sin_row = a.sin.step(0);
    rope.sin_step = a.sin.step(1);
  }
  const int64_t lanes = rope.head_dim / kPiece;
  const bool share_warps = lanes >= 2 && lanes <= 32 && std::has_single_bit(static_cast<uint64_t>(lanes));
  const int64_t head_chunks = (rope.heads + kHeads - 1) / kHeads;
  const int64_t items = rope.tokens * head_chunks;
  if (share_warps && items * lanes < kMostUnits && rope.batch <= 65535 && rows_have_pieces(x) &&
      rows_have_pieces(a.out) && rows_have_pieces(a.weight) && has_aligned_rows(a.cos) && has_aligned_rows(a.sin)) {
    const dim3 grid(static_cast<unsigned>((items * lanes + kThreads - 1) / kThreads),
                    static_cast<unsigned>(rope.batch));
    rope_pieces<<<grid, kThreads, 0, run.stream>>>(rope, std::countr_zero(static_cast<uint64_t>(lanes)),
                                                   FastDivisor(static_cast<uint32_t>(head_chunks)),
                                                   static_cast<uint32_t>(items));
    return;
  }
  const int64_t rows = rope.batch * rope.heads * rope.tokens;
  const int64_t blocks = (rows + kThreads / 32 - 1) / (kThreads / 32);
  rope_elements<<<static_cast<unsigned>(blocks), kThreads, 0, run.stream>>>(rope, rows);
}

}  // namespace

extern "C" int32_t tamias_norm_rope(uint64_t stream, const tamias_tensor* x, const tamias_tensor* weight, float epsilon,
                                    const tamias_tensor* cos, const tamias_tensor* sin, int32_t rope_layout,
                                    const tamias_tensor* out) {
  return run_op("norm_rope", stream, [&](Op& op) {
    const NormRopeArguments arguments(op, x, weight, epsilon, cos, sin, rope_layout, out);
    if (arguments.out.empty()) return;
    op.submit([=](const Run& run) { launch(run, arguments); });
  });
}
