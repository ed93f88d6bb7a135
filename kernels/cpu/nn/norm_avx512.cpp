#include "../common/vector_avx512.h"
#include "norm_kernels.inl"
