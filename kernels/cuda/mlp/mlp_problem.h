// The column-sparse MLP as the kernels see it: plain addresses and strides, already checked (tamias.h, "column-sparse
// MLP"). Slabs are neuron-major: [batch, groups, hidden, group], bf16; entries past a short last group are 0.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "../common/launch.h"

namespace tamias {

// A mask with one list a group. counts null: every neuron of every group (indices are not read).
struct NeuronMask {
  const void* indices = nullptr;  // contiguous [batch, groups, capacity], uint16_t or int32_t
  bool short_indices = false;
  int64_t capacity = 0;
  const int32_t* counts = nullptr;  // contiguous [batch, groups]; -1: every neuron
  uint32_t* failure = nullptr;      // as in ColumnAttention
};

// tamias_mlp_delta_fc1; with mask.counts null tamias_mlp_refresh_fc1 (no delta, no means).
struct Fc1 {
  int64_t batch, tokens, d, hidden, group;  // groups = ceil(tokens / group)
  const __nv_bfloat16* x;
  int64_t x_batch, x_row;
  const __nv_bfloat16* w1;
  int64_t w1_row;
  const __nv_bfloat16* b1;  // optional, [hidden]
  int32_t activation;       // enum tamias_activation
  NeuronMask mask;
  __nv_bfloat16* activations;  // contiguous [batch, groups, hidden, group]
  __nv_bfloat16* delta;        // contiguous [batch, groups, capacity, group]; null without a mask
};

// tamias_mlp_delta_fc2.
struct Fc2 {
  int64_t batch, tokens, n, hidden, group;
  const __nv_bfloat16* delta;
  NeuronMask mask;
  const __nv_bfloat16* w2t;  // rows [hidden, n]
  int64_t w2t_row;
  float* out;  // rows [batch, tokens, n], added to
  int64_t out_batch, out_row;
};

// wgmma kernels, compute capability 9.0: group 128, rows of x, w1 and w2t 16-byte aligned, d and n multiples of 64.
bool fc1_sm90_fits(const Fc1& problem);
size_t fc1_sm90_workspace(const Fc1& problem, int multiprocessors);
cudaError_t fc1_sm90(const Fc1& problem, const Launch& launch);

bool fc2_sm90_fits(const Fc2& problem);
size_t fc2_sm90_workspace(const Fc2& problem, int multiprocessors);
cudaError_t fc2_sm90(const Fc2& problem, const Launch& launch);

}  // namespace tamias
