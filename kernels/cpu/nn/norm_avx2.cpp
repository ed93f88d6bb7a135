#include "../common/vector_avx2.h"
#include "norm_kernels.inl"
