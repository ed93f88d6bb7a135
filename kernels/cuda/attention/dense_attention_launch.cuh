// A kernel's launch: tensor maps, the cut into items, the grid.
#pragma once

#include <algorithm>

#include "dense_attention_kernel.cuh"

namespace tamias::dense_attention {

using EncodeMap = CUresult (*)(CUtensorMap*, CUtensorMapDataType, cuuint32_t, void*, const cuuint64_t*,
                               const cuuint64_t*, const cuuint32_t*, const cuuint32_t*, CUtensorMapInterleave,
                               CUtensorMapSwizzle, CUtensorMapL2promotion, CUtensorMapFloatOOBfill);

// Asked of the driver that is there: the library must load without one.
inline EncodeMap encode_map() {
  static const EncodeMap encode = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found;
    const cudaError_t status =
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found);
    return status == cudaSuccess && found == cudaDriverEntryPointSuccess ? reinterpret_cast<EncodeMap>(function)
                                                                         : nullptr;
  }();
  return encode;
}

// [batch, heads, tokens, head_dim] with 128-byte swizzle: a box is `rows` tokens of one head, as panels of 64 columns.
inline bool make_map(CUtensorMap* map, const HeadRows<const __nv_bfloat16>& rows, const AttentionShape& shape,
                     int64_t tokens, int box_rows) {
  const EncodeMap encode = encode_map();
  if (encode == nullptr) return false;
  const int panels = shape.head_dim / 64;
  // The stride of a dimension of one entry is never used, but must look like one.
  const auto bytes = [](int64_t stride, int64_t extent) -> cuuint64_t { return extent > 1 ? stride * 2 : 16; };
  const cuuint64_t extents[5] = {64, static_cast<cuuint64_t>(tokens), static_cast<cuuint64_t>(panels),
                                 static_cast<cuuint64_t>(shape.heads), static_cast<cuuint64_t>(shape.batch)};
  const cuuint64_t strides[4] = {bytes(rows.row, tokens), 128, bytes(rows.head, shape.heads),
                                 bytes(rows.batch, shape.batch)};
  const cuuint32_t box[5] = {64, static_cast<cuuint32_t>(box_rows), static_cast<cuuint32_t>(panels), 1, 1};
  const cuuint32_t steps[5] = {1, 1, 1, 1, 1};
  return encode(map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 5, const_cast<__nv_bfloat16*>(rows.data), extents, strides, box,
                steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE) == CUDA_SUCCESS;
}

// `item_rows`: queries of an item; the tile's own rows, or the group where column sums are wanted.
template <class Tile>
cudaError_t launch(const DenseAttention& problem, int64_t item_rows, const HeadRows<const float>& previous_lse,
                   const HeadRows<float>& saved_previous, uint4* reports, const Launch& launch) {
  const AttentionShape& shape = problem.shape;
  Arguments work;
  if (!make_map(&work.q, problem.q, shape, shape.queries, Tile::kRows) ||
      !make_map(&work.k, problem.k, shape, shape.keys, Tile::kKeys) ||
      !make_map(&work.v, problem.v, shape, shape.keys, Tile::kKeys)) {
    return cudaErrorNotSupported;
  }
  work.out = problem.out;
  work.lse = problem.lse;
  work.previous_lse = previous_lse;
  work.saved_previous = saved_previous;
  work.column_sums = problem.column_sums;
  work.reports = reports;
  work.scale_log2 = shape.scale * 1.4426950408889634f;
  work.heads = shape.heads;
  work.queries = static_cast<int32_t>(shape.queries);
  work.keys = static_cast<int32_t>(shape.keys);
  work.item_rows = static_cast<int32_t>(item_rows);
  work.items_per_head = static_cast<int32_t>((shape.queries + item_rows - 1) / item_rows);
  work.items = work.items_per_head * shape.heads * shape.batch;
  const cudaError_t status = cudaFuncSetAttribute(kernel<Tile>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                  static_cast<int>(sizeof(Shared<Tile>)));
  if (status != cudaSuccess) return status;
  kernel<Tile><<<std::min(work.items, launch.multiprocessors), Tile::kThreads, sizeof(Shared<Tile>), launch.stream>>>(
      work);
  return cudaGetLastError();
}

}  // namespace tamias::dense_attention
