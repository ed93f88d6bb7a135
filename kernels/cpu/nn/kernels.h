// The kernels of this folder for an instruction set.
#pragma once

#include "../common/isa.h"
#include "elementwise_kernels.h"
#include "norm_kernels.h"

namespace tamias {

inline const ElementwiseKernels& elementwise(Isa isa) {
  return isa == Isa::avx512 ? avx512::elementwise_kernels : avx2::elementwise_kernels;
}

inline const NormKernels& norms(Isa isa) {
  return isa == Isa::avx512 ? avx512::norm_kernels : avx2::norm_kernels;
}

}  // namespace tamias
