// The instruction set whose kernels a device uses, chosen when it is opened.
#pragma once

namespace tamias {

enum class Isa { avx2, avx512 };

// The best set of this machine, or the one TAMIAS_ISA (avx2 | avx512) asks for. Fails with TAMIAS_UNSUPPORTED where the
// machine lacks it.
Isa choose_isa();

const char* isa_name(Isa isa);

}  // namespace tamias
