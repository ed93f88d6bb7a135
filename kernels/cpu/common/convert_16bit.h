// 16-bit floats to and from F32. Bound by memory, so AVX2 serves every machine.
#pragma once

#include <stdint.h>

namespace tamias::avx2 {

void bf16_to_f32(const uint16_t* in, int64_t count, float* out);
void f16_to_f32(const uint16_t* in, int64_t count, float* out);
void f32_to_bf16(const float* in, int64_t count, uint16_t* out);
void f32_to_f16(const float* in, int64_t count, uint16_t* out);

}  // namespace tamias::avx2
