#include "../common/vector_avx512.h"
#include "attention_kernels.inl"
