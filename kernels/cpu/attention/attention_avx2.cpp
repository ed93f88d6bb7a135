#include "../common/vector_avx2.h"
#include "attention_kernels.inl"
