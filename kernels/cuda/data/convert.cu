#include "convert.h"

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include <algorithm>

#include "tamias.h"

namespace tamias {
namespace {

constexpr int kThreads = 256;

struct F8 {
  __nv_fp8_storage_t bits;
};

template <class T>
__device__ float to_f32(T value) { return static_cast<float>(value); }
__device__ float to_f32(__nv_bfloat16 value) { return __bfloat162float(value); }
__device__ float to_f32(__half value) { return __half2float(value); }
__device__ float to_f32(F8 value) { return __half2float(__half(__nv_cvt_fp8_to_halfraw(value.bits, __NV_E4M3))); }

__device__ void store(float value, float& to) { to = value; }
__device__ void store(float value, __nv_bfloat16& to) { to = __float2bfloat16_rn(value); }
__device__ void store(float value, __half& to) { to = __float2half_rn(value); }

template <class In, class Out>
__global__ void __launch_bounds__(kThreads) convert_kernel(const In* in, Out* out, int64_t count) {
  const int64_t step = int64_t{gridDim.x} * kThreads;
  for (int64_t i = blockIdx.x * int64_t{kThreads} + threadIdx.x; i < count; i += step) store(to_f32(in[i]), out[i]);
}

template <class In, class Out>
cudaError_t convert_typed(const void* in, void* out, int64_t count, const Launch& launch) {
  const int64_t blocks = std::min((count + kThreads - 1) / kThreads, int64_t{launch.multiprocessors} * 16);
  convert_kernel<<<static_cast<unsigned>(blocks), kThreads, 0, launch.stream>>>(static_cast<const In*>(in),
                                                                                static_cast<Out*>(out), count);
  return cudaGetLastError();
}

template <class In>
cudaError_t convert_from(const void* in, void* out, int32_t out_dtype, int64_t count, const Launch& launch) {
  switch (out_dtype) {
    case TAMIAS_F32: return convert_typed<In, float>(in, out, count, launch);
    case TAMIAS_BF16: return convert_typed<In, __nv_bfloat16>(in, out, count, launch);
    default: return convert_typed<In, __half>(in, out, count, launch);
  }
}

}  // namespace

cudaError_t convert_elements(const void* in, int32_t in_dtype, void* out, int32_t out_dtype, int64_t count,
                             const Launch& launch) {
  switch (in_dtype) {
    case TAMIAS_F32: return convert_from<float>(in, out, out_dtype, count, launch);
    case TAMIAS_BF16: return convert_from<__nv_bfloat16>(in, out, out_dtype, count, launch);
    case TAMIAS_F16: return convert_from<__half>(in, out, out_dtype, count, launch);
    case TAMIAS_I8: return convert_from<int8_t>(in, out, out_dtype, count, launch);
    case TAMIAS_F8_E4M3: return convert_from<F8>(in, out, out_dtype, count, launch);
    case TAMIAS_I32: return convert_from<int32_t>(in, out, out_dtype, count, launch);
    case TAMIAS_U16: return convert_from<uint16_t>(in, out, out_dtype, count, launch);
    default: return convert_from<uint8_t>(in, out, out_dtype, count, launch);
  }
}

}  // namespace tamias
