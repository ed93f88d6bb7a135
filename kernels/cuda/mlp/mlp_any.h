// The column-sparse MLP for the kernels that take anything the ABI allows. T: of activations, W: of weights; float or
// bf16. Dense where lists.counts is null.
#pragma once

#include <cuda_bf16.h>
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "../mask/column_list.cuh"

namespace tamias {

// An optional bias of any type and stride.
struct Bias {
  const void* data = nullptr;  // null: zeros
  bool is_bf16 = false;
  int64_t stride = 1;

  __device__ float at(int64_t i) const {
    if (!data) return 0;
    return is_bf16 ? __bfloat162float(static_cast<const __nv_bfloat16*>(data)[i * stride])
                   : static_cast<const float*>(data)[i * stride];
  }
};

struct MlpShape {
  int64_t batch, tokens, hidden, group;
  int64_t width;  // of a token: d for fc1, n for fc2

  __host__ __device__ int64_t groups() const { return (tokens + group - 1) / group; }
};

template <class T, class W>
struct Fc1Any {
  MlpShape shape;
  const T* x;  // rows [batch, tokens, width]
  int64_t x_batch, x_row;
  const W* w1;  // rows [hidden, width]
  int64_t w1_row;
  Bias b1;
  int32_t activation;
  ColumnLists lists;         // [batch, groups]
  T* activations;            // contiguous [batch, groups, hidden, group]
  T* delta = nullptr;        // with lists: contiguous [batch, groups, capacity, group]

  int64_t places() const { return lists.counts ? lists.capacity : shape.hidden; }  // of a group, at most
};

template <class T, class W>
struct Fc2Any {
  MlpShape shape;
  const T* slabs;  // contiguous [batch, groups, capacity (dense: hidden), group]
  ColumnLists lists;
  const W* w2t;  // rows [hidden, width]
  int64_t w2t_row;
  Bias b2;              // dense
  float* out = nullptr;  // rows [batch, tokens, width]; dense: overwritten, else added to
  __nv_bfloat16* short_out = nullptr;  // dense: instead of `out`
  int64_t out_batch, out_row;
};

// Means over each group of the pre-activations.
template <class T, class W>
struct NeuronMeans {
  MlpShape shape;
  const T* x;
  int64_t x_batch, x_row;
  const W* w1;
  int64_t w1_row;
  Bias b1;
  float* means;  // rows [batch, groups, hidden]
  int64_t means_batch, means_row;
};

// Tensor cores from compute capability 8.0 on: bf16, rows aligned to 16 bytes (of out: pairs), group a multiple of 8.
bool fc1_mma_fits(const Fc1Any<__nv_bfloat16, __nv_bfloat16>& problem);
cudaError_t fc1_mma(const Fc1Any<__nv_bfloat16, __nv_bfloat16>& problem, cudaStream_t stream);
bool fc2_mma_fits(const Fc2Any<__nv_bfloat16, __nv_bfloat16>& problem);
cudaError_t fc2_mma(const Fc2Any<__nv_bfloat16, __nv_bfloat16>& problem, cudaStream_t stream);

// Everything else, in fp32 throughout.
template <class T, class W>
cudaError_t fc1_plain(const Fc1Any<T, W>& problem, cudaStream_t stream);
template <class T, class W>
cudaError_t fc2_plain(const Fc2Any<T, W>& problem, cudaStream_t stream);

// Any types. The layer is linear up to the activation: the means of its results are its results of the means.
template <class T, class W>
size_t neuron_means_workspace(const NeuronMeans<T, W>& problem);
template <class T, class W>
cudaError_t neuron_means(const NeuronMeans<T, W>& problem, char* workspace, cudaStream_t stream);

}  // namespace tamias
