// out = function(inputs...), element by element, for any strides.
#pragma once

#include "pieces.cuh"
#include "runtime/check.h"
#include "runtime/run.h"
#include "walk.h"

namespace tamias {

constexpr int kMapThreads = 256;

struct Operand {
  void* data;
  int32_t dtype;
  bool repeats;  // one element for a whole line
};

template <int kInputs>
struct Operands {
  Operand of[kInputs];

  __device__ __forceinline__ const Operand& operator[](int i) const { return of[i]; }
};

// kPacked: a unit is a piece, otherwise an element.
template <bool kPacked, int kInputs, class Function>
__global__ __launch_bounds__(kMapThreads) void map_units(const Walk<kInputs + 1> walk, const Operand out,
                                                         const Operands<kInputs> inputs,
                                                         const Function function) {
  constexpr int kUnits = 2;  // a thread
  const uint32_t first = blockIdx.x * (kMapThreads * kUnits) + threadIdx.x;
  int64_t offset[kUnits][kInputs + 1];
  if constexpr (kPacked) {
    RawPiece raw[kUnits][kInputs];
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      if (first + u * kMapThreads >= walk.units) continue;
      walk.find(first + u * kMapThreads, offset[u]);
#pragma unroll
      for (int i = 0; i < kInputs; ++i) {
        if (!inputs[i].repeats) raw[u][i] = load_piece(inputs[i].data, inputs[i].dtype, offset[u][i + 1]);
      }
    }
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      if (first + u * kMapThreads >= walk.units) return;
      float values[kInputs][kPiece];
#pragma unroll
      for (int i = 0; i < kInputs; ++i) {
        if (inputs[i].repeats) {
          const float value = load_element(inputs[i].data, inputs[i].dtype, offset[u][i + 1]);
#pragma unroll
          for (int k = 0; k < kPiece; ++k) values[i][k] = value;
        } else {
          unpack_piece(raw[u][i], inputs[i].dtype, values[i]);
        }
      }
      float result[kPiece];
#pragma unroll
      for (int k = 0; k < kPiece; ++k) {
        float x[kInputs];
#pragma unroll
        for (int i = 0; i < kInputs; ++i) x[i] = values[i][k];
        result[k] = function(x);
      }
      store_piece(out.data, out.dtype, offset[u][0], result);
    }
  } else {
    float values[kUnits][kInputs];
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      if (first + u * kMapThreads >= walk.units) continue;
      walk.find(first + u * kMapThreads, offset[u]);
#pragma unroll
      for (int i = 0; i < kInputs; ++i) {
        values[u][i] = load_element(inputs[i].data, inputs[i].dtype, offset[u][i + 1]);
      }
    }
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      if (first + u * kMapThreads >= walk.units) return;
      store_element(out.data, out.dtype, offset[u][0], function(values[u]));
    }
  }
}

// views: out, then the inputs.
template <int kTensors, class Function>
void map(const Run& run, const Function& function, const View (&views)[kTensors]) {
  constexpr int kInputs = kTensors - 1;
  for_each_part(views, [&](const View(&part)[kTensors]) {
    const LoopNest<kTensors> nest(part);
    const bool packed = lines_divide(nest, part, kPiece, 16);
    const Walk<kTensors> walk(nest, packed ? kPiece : 1);
    Operands<kInputs> inputs;
    for (int i = 0; i < kInputs; ++i) inputs.of[i] = {part[i + 1].data, part[i + 1].dtype, nest.step[i + 1] == 0};
    const Operand out = {part[0].data, part[0].dtype, false};
    const unsigned blocks = (walk.units + 2 * kMapThreads - 1) / (2 * kMapThreads);
    const auto kernel = packed ? map_units<true, kInputs, Function> : map_units<false, kInputs, Function>;
    kernel<<<blocks, kMapThreads, 0, run.stream>>>(walk, out, inputs, function);
    check_cuda(cudaGetLastError(), "launching");
  });
}

}  // namespace tamias
