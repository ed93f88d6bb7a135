#include <algorithm>

#include "../common/pack.cuh"
#include "finish.cuh"
#include "rows.h"

namespace tamias {
namespace {

constexpr int kThreads = 256;

// In, Out: float or bf16. kPack elements a thread; both sides aligned to that.
template <class In, class Out, int kPack>
__global__ void __launch_bounds__(kThreads) finish_kernel(const In* in, int64_t in_step, Out* out, int64_t out_step,
                                                          int64_t rows, int64_t columns, Finish finish) {
  const int64_t packs = columns / kPack;
  const int64_t total = rows * packs;
  for (int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x; i < total; i += int64_t{gridDim.x} * kThreads) {
    const int64_t row = i / packs;
    const int64_t column = i % packs * kPack;
    Out* to = out + row * out_step + column;
    const Pack<In, kPack> given = load_pack<kPack>(in + row * in_step + column);
    Pack<Out, kPack> before{};
    if (finish.accumulate) before = load_pack<kPack>(to);
    Pack<Out, kPack> result;
#pragma unroll
    for (int k = 0; k < kPack; ++k) {
      const float sum = to_float(given.value[k]) + parameter_at(finish.bias, column + k);
      const float value = activate_any(finish.activation, sum);
      result.value[k] = from_float<Out>(finish.accumulate ? value + to_float(before.value[k]) : value);
    }
    store_pack(to, result);
  }
}

bool packs(const void* data, int64_t step, int64_t element, int64_t pack) {
  return reinterpret_cast<uintptr_t>(data) % (element * pack) == 0 && step % pack == 0;
}

template <class In, class Out>
cudaError_t finish_typed(const Matrix& in, const Matrix& out, int64_t rows, int64_t columns, const Finish& finish,
                         const Launch& launch) {
  constexpr int kPack = 4;
  const bool packed = columns % kPack == 0 && packs(out.data, out.step, sizeof(Out), kPack) &&
                      packs(in.data, in.step, sizeof(In), kPack);
  const int64_t items = rows * (packed ? columns / kPack : columns);
  if (items == 0) return cudaSuccess;
  const int64_t blocks = std::min((items + kThreads - 1) / kThreads, int64_t{launch.multiprocessors} * 32);
  const auto* from = static_cast<const In*>(in.data);
  auto* to = static_cast<Out*>(out.data);
  const auto kernel = packed ? finish_kernel<In, Out, kPack> : finish_kernel<In, Out, 1>;
  kernel<<<static_cast<unsigned>(blocks), kThreads, 0, launch.stream>>>(from, in.step, to, out.step, rows, columns,
                                                                        finish);
  return cudaGetLastError();
}

}  // namespace

cudaError_t pack_rows(const Matrix& in, const Matrix& out, int64_t rows, int64_t columns, const Launch& launch) {
  return finish_rows(in, out, rows, columns, Finish{{}, TAMIAS_IDENTITY, false}, launch);
}

cudaError_t finish_rows(const Matrix& in, const Matrix& out, int64_t rows, int64_t columns, const Finish& finish,
                        const Launch& launch) {
  const bool in_bf16 = in.dtype == TAMIAS_BF16;
  const bool out_bf16 = out.dtype == TAMIAS_BF16;
  if (in_bf16 && out_bf16) {
    return finish_typed<__nv_bfloat16, __nv_bfloat16>(in, out, rows, columns, finish, launch);
  }
  if (in_bf16) return finish_typed<__nv_bfloat16, float>(in, out, rows, columns, finish, launch);
  if (out_bf16) return finish_typed<float, __nv_bfloat16>(in, out, rows, columns, finish, launch);
  return finish_typed<float, float>(in, out, rows, columns, finish, launch);
}

}  // namespace tamias
