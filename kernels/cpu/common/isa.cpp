#include "isa.h"

#include <cstdlib>
#include <cstring>

#include "common/failure.h"

namespace tamias {
namespace {

bool has_avx2() {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
}

bool has_avx512() {
  return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

}  // namespace

Isa choose_isa() {
  __builtin_cpu_init();
  if (!has_avx2()) fail(TAMIAS_UNSUPPORTED, "this processor lacks AVX2, FMA or F16C, which the CPU backend needs");
  const char* wanted = std::getenv("TAMIAS_ISA");
  if (wanted == nullptr || *wanted == '\0') return has_avx512() ? Isa::avx512 : Isa::avx2;
  if (std::strcmp(wanted, "avx2") == 0) return Isa::avx2;
  if (std::strcmp(wanted, "avx512") != 0) refuse("TAMIAS_ISA is '%s', expected avx2 or avx512", wanted);
  if (!has_avx512()) fail(TAMIAS_UNSUPPORTED, "TAMIAS_ISA asks for avx512, which this processor lacks");
  return Isa::avx512;
}

const char* isa_name(Isa isa) { return isa == Isa::avx512 ? "AVX-512" : "AVX2"; }

}  // namespace tamias
