#include "../common/vector_avx2.h"
#include "mlp_kernels.inl"
