#include "../common/vector_avx512.h"
#include "elementwise_kernels.inl"
