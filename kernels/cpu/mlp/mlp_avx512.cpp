#include "../common/vector_avx512.h"
#include "mlp_kernels.inl"
