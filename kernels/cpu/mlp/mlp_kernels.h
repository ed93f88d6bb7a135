#pragma once

#include <stdint.h>

#include "../common/panels.h"

namespace tamias {

// Some neurons of fc1 for one group of tokens.
struct Fc1Block {
  const float* x;  // [tokens, d]
  int64_t x_stride;
  int64_t tokens;  // at most `group`
  int64_t group;   // tokens of a slab's row
  int64_t d;
  RowSource w1;
  const float* b1;  // optional
  int32_t activation;

  const void* indices;  // null: the neurons themselves count up from 0
  bool short_indices;
  int64_t begin, end;  // places of the list

  float* slab;   // [hidden, group]
  float* delta;  // optional: [capacity, group] gets new - old
  float* means;  // optional: [hidden]
};

// Some output columns of fc2 for one group of tokens: out (+)= activations of the list times rows of w2t.
struct Fc2Block {
  const float* activations;  // [places, group]
  int64_t group;
  int64_t tokens;
  RowSource w2t;  // [hidden, n]
  const void* indices;
  bool short_indices;
  int64_t count;
  int64_t begin, end;  // output columns
  bool start;          // out starts from b2 (or 0) instead of what it holds
  const float* b2;     // optional
  float* out;          // [tokens, n]
  int64_t out_stride;
};

struct MlpKernels {
  int64_t panel;  // output columns are best split at multiples of it
  int64_t row_block;  // and neurons at multiples of this
  int64_t (*fc1_scratch_floats)(int64_t d);
  int64_t (*fc2_scratch_floats)();
  void (*fc1)(const Fc1Block& block, float* scratch);
  void (*fc2)(const Fc2Block& block, float* scratch);
};

namespace avx2 {
extern const MlpKernels mlp_kernels;
}
namespace avx512 {
extern const MlpKernels mlp_kernels;
}

}  // namespace tamias
