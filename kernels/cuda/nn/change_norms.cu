// Blocks sum what lies a grid apart, then one block adds their sums in order. Few elements are added in fp32, the sums
// of pieces in fp64.
#include <algorithm>

#include "any_element.cuh"
#include "common/checks/change_norms.h"
#include "map.cuh"

using namespace tamias;

namespace {

constexpr int kThreads = 256;
constexpr int64_t kBlocksPerMultiprocessor = 8;

struct Sums {
  double change, size;
};

__device__ double sum_of_warp(double value) {
#pragma unroll
  for (int distance = 16; distance > 0; distance /= 2) value += __shfl_xor_sync(0xffffffffu, value, distance);
  return value;
}

// For the first thread.
__device__ Sums sum_of_block(Sums sums) {
  constexpr int kWarps = kThreads / 32;
  __shared__ Sums of_warp[kWarps];
  sums = {sum_of_warp(sums.change), sum_of_warp(sums.size)};
  if (threadIdx.x % 32 == 0) of_warp[threadIdx.x / 32] = sums;
  __syncthreads();
  if (threadIdx.x == 0) {
    for (int warp = 1; warp < kWarps; ++warp) {
      sums.change += of_warp[warp].change;
      sums.size += of_warp[warp].size;
    }
  }
  return sums;
}

// kTensors: now, and before where there is one. kPacked: a unit is a piece, otherwise an element.
template <bool kPacked, int kTensors>
__global__ __launch_bounds__(kThreads) void sum_units(const Walk<kTensors> walk, const Operands<kTensors> tensors,
                                                      Sums* block_sums) {
  constexpr int kElements = kPacked ? kPiece : 1;
  Sums sums{};
  for (uint32_t unit = blockIdx.x * kThreads + threadIdx.x; unit < walk.units; unit += gridDim.x * kThreads) {
    int64_t offset[kTensors];
    walk.find(unit, offset);
    float values[kTensors][kElements];
    if constexpr (kPacked) {
      RawPiece raw[kTensors];
#pragma unroll
      for (int t = 0; t < kTensors; ++t) raw[t] = load_piece(tensors[t].data, tensors[t].dtype, offset[t]);
#pragma unroll
      for (int t = 0; t < kTensors; ++t) unpack_piece(raw[t], tensors[t].dtype, values[t]);
    } else {
#pragma unroll
      for (int t = 0; t < kTensors; ++t) values[t][0] = any_to_float(tensors[t].data, tensors[t].dtype, offset[t]);
    }
    float change = 0;
    float size = 0;
#pragma unroll
    for (int k = 0; k < kElements; ++k) {
      if constexpr (kTensors == 2) {
        change += fabsf(values[0][k] - values[1][k]);
        size += fabsf(values[1][k]);
      } else {
        change += fabsf(values[0][k]);
      }
    }
    sums.change += change;
    sums.size += size;
  }
  sums = sum_of_block(sums);
  if (threadIdx.x == 0) block_sums[blockIdx.x] = sums;
}

__global__ __launch_bounds__(kThreads) void sum_blocks(const Sums* block_sums, int64_t count, float* out,
                                                       int64_t step) {
  Sums sums{};
  for (int64_t i = threadIdx.x; i < count; i += kThreads) {
    sums.change += block_sums[i].change;
    sums.size += block_sums[i].size;
  }
  sums = sum_of_block(sums);
  if (threadIdx.x != 0) return;
  out[0] = static_cast<float>(sums.change);
  out[step] = static_cast<float>(sums.size);
}

bool has_pieces(const View& view) { return type_bit(view.dtype) & (kF32 | type_bit(TAMIAS_BF16)); }

// Gives the number of blocks.
template <int kTensors>
int64_t sum_part(const Run& run, const View (&views)[kTensors], Sums* block_sums) {
  const LoopNest<kTensors> nest(views);
  bool packed = lines_divide(nest, views, kPiece, 16);
  Operands<kTensors> tensors;
  for (int t = 0; t < kTensors; ++t) {
    packed = packed && has_pieces(views[t]) && nest.step[t] == 1;
    tensors.of[t] = {views[t].data, views[t].dtype, false};
  }
  const Walk<kTensors> walk(nest, packed ? kPiece : 1);
  const int64_t wanted = (int64_t{walk.units} + kThreads - 1) / kThreads;
  const int64_t blocks = std::min(wanted, kBlocksPerMultiprocessor * run.multiprocessors);
  const auto kernel = packed ? sum_units<true, kTensors> : sum_units<false, kTensors>;
  kernel<<<static_cast<unsigned>(blocks), kThreads, 0, run.stream>>>(walk, tensors, block_sums);
  check_cuda(cudaGetLastError(), "launching");
  return blocks;
}

template <int kTensors>
void sum_all(const Run& run, const View (&views)[kTensors], const View& out, Sums* block_sums) {
  int64_t count = 0;
  if (!views[0].empty()) {
    for_each_part(views, [&](const View(&part)[kTensors]) { count += sum_part(run, part, block_sums + count); });
  }
  sum_blocks<<<1, kThreads, 0, run.stream>>>(block_sums, count, out.f32(), out.step(0));
}

}  // namespace

extern "C" int32_t tamias_change_norms(uint64_t stream, const tamias_tensor* now, const tamias_tensor* before,
                                       const tamias_tensor* out) {
  return run_op("change_norms", stream, [&](Op& op) {
    const ChangeNormsArguments arguments(op, now, before, out);
    int64_t parts = 0;
    for_each_part<1>({arguments.now}, [&](const View(&)[1]) { ++parts; });
    Scratch scratch;
    const size_t block_sums = scratch.take(parts * kBlocksPerMultiprocessor * op.device().multiprocessors() *
                                           static_cast<int64_t>(sizeof(Sums)));
    op.workspace(scratch);
    op.submit([=](const Run& run) {
      Sums* sums = Scratch::at<Sums>(run, block_sums);
      if (arguments.before) {
        sum_all<2>(run, {arguments.now, arguments.before}, arguments.out, sums);
      } else {
        sum_all<1>(run, {arguments.now}, arguments.out, sums);
      }
    });
  });
}
