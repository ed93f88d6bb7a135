// wgmma (sm_90a): one warpgroup multiplies [64, 16] x [16, N] bf16 into fp32 registers. Accumulator layout: register
// 4j + e of a thread holds row 16 * warp + lane / 4 + (e >= 2 ? 8 : 0), column 8j + 2 * (lane % 4) + e % 2.
#pragma once

#include <cstdint>

namespace tamias::sm90 {

template <int N>
struct Wgmma;

// Asm operands can be neither looped over nor named: sixteen accumulators at a time, as the instruction counts them and
// as operands.
#define TAMIAS_NAMES_0 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15"
#define TAMIAS_NAMES_16 "%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define TAMIAS_NAMES_32 "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47"
#define TAMIAS_NAMES_48 "%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define TAMIAS_NAMES_64 "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79"
#define TAMIAS_NAMES_80 "%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95"
#define TAMIAS_NAMES_96 "%96,%97,%98,%99,%100,%101,%102,%103,%104,%105,%106,%107,%108,%109,%110,%111"
#define TAMIAS_NAMES_112 "%112,%113,%114,%115,%116,%117,%118,%119,%120,%121,%122,%123,%124,%125,%126,%127"
#define TAMIAS_SIXTEEN(i) \
  "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), \
  "+f"(d[i + 4]), "+f"(d[i + 5]), "+f"(d[i + 6]), "+f"(d[i + 7]), \
  "+f"(d[i + 8]), "+f"(d[i + 9]), "+f"(d[i + 10]), "+f"(d[i + 11]), \
  "+f"(d[i + 12]), "+f"(d[i + 13]), "+f"(d[i + 14]), "+f"(d[i + 15])

#define TAMIAS_NAMES_TO_16 TAMIAS_NAMES_0
#define TAMIAS_TO_16 TAMIAS_SIXTEEN(0)
#define TAMIAS_NAMES_TO_32 TAMIAS_NAMES_TO_16 "," TAMIAS_NAMES_16
#define TAMIAS_TO_32 TAMIAS_TO_16, TAMIAS_SIXTEEN(16)
#define TAMIAS_NAMES_TO_48 TAMIAS_NAMES_TO_32 "," TAMIAS_NAMES_32
#define TAMIAS_TO_48 TAMIAS_TO_32, TAMIAS_SIXTEEN(32)
#define TAMIAS_NAMES_TO_64 TAMIAS_NAMES_TO_48 "," TAMIAS_NAMES_48
#define TAMIAS_TO_64 TAMIAS_TO_48, TAMIAS_SIXTEEN(48)
#define TAMIAS_NAMES_TO_80 TAMIAS_NAMES_TO_64 "," TAMIAS_NAMES_64
#define TAMIAS_TO_80 TAMIAS_TO_64, TAMIAS_SIXTEEN(64)
#define TAMIAS_NAMES_TO_96 TAMIAS_NAMES_TO_80 "," TAMIAS_NAMES_80
#define TAMIAS_TO_96 TAMIAS_TO_80, TAMIAS_SIXTEEN(80)
#define TAMIAS_NAMES_TO_112 TAMIAS_NAMES_TO_96 "," TAMIAS_NAMES_96
#define TAMIAS_TO_112 TAMIAS_TO_96, TAMIAS_SIXTEEN(96)
#define TAMIAS_NAMES_TO_128 TAMIAS_NAMES_TO_112 "," TAMIAS_NAMES_112
#define TAMIAS_TO_128 TAMIAS_TO_112, TAMIAS_SIXTEEN(112)

// The operands after the N / 2 accumulators are n0 to n6.
//
// ss: D[64, N] = A B + (accumulate ? D : 0), A and B in shared memory. kTransposeA/B: the operand is MN-major.
// rs: the same with A in registers (the accumulator layout, packed to bf16 pairs).
#define TAMIAS_WGMMA(N, NAMES, ACCUMULATORS, n0, n1, n2, n3, n4, n5, n6)                                             \
  template <>                                                                                                         \
  struct Wgmma<N> {                                                                                                   \
    template <int kTransposeA, int kTransposeB>                                                                       \
    __device__ static void ss(float (&d)[N / 2], uint64_t a, uint64_t b, int accumulate = 1) {                        \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" #n2 ", 0;\n"                                                  \
                   "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32.bf16.bf16 {" NAMES "}, "                           \
                   "%" #n0 ", %" #n1 ", p, 1, 1, %" #n3 ", %" #n4 ";\n}\n"                                            \
                   : ACCUMULATORS                                                                                     \
                   : "l"(a), "l"(b), "r"(accumulate), "n"(kTransposeA), "n"(kTransposeB));                            \
    }                                                                                                                 \
    template <int kTransposeB>                                                                                        \
    __device__ static void rs(float (&d)[N / 2], const uint32_t (&a)[4], uint64_t b, int accumulate = 1) {            \
      asm volatile("{\n.reg .pred p;\nsetp.ne.b32 p, %" #n5 ", 0;\n"                                                  \
                   "wgmma.mma_async.sync.aligned.m64n" #N "k16.f32.bf16.bf16 {" NAMES "}, "                           \
                   "{%" #n0 ",%" #n1 ",%" #n2 ",%" #n3 "}, %" #n4 ", p, 1, 1, %" #n6 ";\n}\n"                         \
                   : ACCUMULATORS                                                                                     \
                   : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(accumulate), "n"(kTransposeB));          \
    }                                                                                                                 \
  };

TAMIAS_WGMMA(32, TAMIAS_NAMES_TO_16, TAMIAS_TO_16, 16, 17, 18, 19, 20, 21, 22)
TAMIAS_WGMMA(64, TAMIAS_NAMES_TO_32, TAMIAS_TO_32, 32, 33, 34, 35, 36, 37, 38)
TAMIAS_WGMMA(128, TAMIAS_NAMES_TO_64, TAMIAS_TO_64, 64, 65, 66, 67, 68, 69, 70)
TAMIAS_WGMMA(192, TAMIAS_NAMES_TO_96, TAMIAS_TO_96, 96, 97, 98, 99, 100, 101, 102)
TAMIAS_WGMMA(224, TAMIAS_NAMES_TO_112, TAMIAS_TO_112, 112, 113, 114, 115, 116, 117, 118)
TAMIAS_WGMMA(256, TAMIAS_NAMES_TO_128, TAMIAS_TO_128, 128, 129, 130, 131, 132, 133, 134)

}  // namespace tamias::sm90
