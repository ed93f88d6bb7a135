#include "../common/vector_avx2.h"
#include "elementwise_kernels.inl"
