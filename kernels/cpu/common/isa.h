// The instruction set whose kernels a device uses, chosen when it is opened.
//
// Code for one instruction set lives in files *_avx2.cpp and *_avx512.cpp, in namespaces tamias::avx2 and
// tamias::avx512, written once over common/vector.h. Such a file must not use inline functions or templates of shared
// headers (of the standard library neither): the linker keeps one copy of each, perhaps the one with AVX-512 in it.
#pragma once

namespace tamias {

enum class Isa { avx2, avx512 };

// The best set of this machine, or the one TAMIAS_ISA (avx2 | avx512) asks for. Fails with TAMIAS_UNSUPPORTED where the
// machine lacks it.
Isa choose_isa();

const char* isa_name(Isa isa);

}  // namespace tamias
