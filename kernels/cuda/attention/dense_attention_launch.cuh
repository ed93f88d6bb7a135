// A kernel's launch: tensor maps, the cut into items, the grid.
#pragma once

#include <algorithm>
#include <numeric>

#include "dense_attention_kernel.cuh"
#include "dense_attention_merge.cuh"

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

// Where a launch may write, apart from the results.
struct Scratch {
  uint4* reports;    // one a row tile; null: kRunning for all items
  float* partials;   // as many floats as partial_floats says; null: no item is cut
  HeadRows<float> saved_previous;
};

// Queries of an item: whole groups and whole tiles, if warpgroups and groups can be aligned, else one group.
template <class Tile>
int64_t item_rows(const DenseAttention& problem) {
  if (!Tile::kSums) return Tile::kRows;
  return problem.group % 64 == 0 ? std::lcm(problem.group, int64_t{Tile::kRows}) : problem.group;
}

template <class Tile>
int64_t item_tiles(const DenseAttention& problem) {
  return (item_rows<Tile>(problem) + Tile::kRows - 1) / Tile::kRows;
}

template <class Tile>
int64_t item_count(const DenseAttention& problem) {
  const int64_t rows = item_rows<Tile>(problem);
  return (problem.shape.queries + rows - 1) / rows * problem.shape.heads * problem.shape.batch;
}

// Partial results take much memory where items are long.
constexpr int kMostTilesCut = 3;

template <class Tile>
int64_t partial_floats(const DenseAttention& problem, int multiprocessors) {
  const int64_t tiles = item_tiles<Tile>(problem);
  return tiles > kMostTilesCut ? 0 : 2 * tiles * kSlotFloats<Tile> * multiprocessors;
}

template <class Tile>
cudaError_t launch(const DenseAttention& problem, const HeadRows<const float>& previous_lse, const Scratch& scratch,
                   const Launch& launch) {
  constexpr int kWorthCutting = 8;  // steps that cutting must save: it costs a second kernel
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
  work.saved_previous = scratch.saved_previous;
  work.column_sums = problem.column_sums;
  work.reports = scratch.reports;
  work.partials = scratch.partials;
  work.scale_log2 = shape.scale * kLog2E;
  work.heads = shape.heads;
  work.queries = static_cast<int32_t>(shape.queries);
  work.keys = static_cast<int32_t>(shape.keys);
  work.group = static_cast<int32_t>(Tile::kSums ? problem.group : Tile::kRows);
  work.groups_per_head = (work.queries + work.group - 1) / work.group;
  work.item_rows = static_cast<int32_t>(item_rows<Tile>(problem));
  work.item_tiles = static_cast<int32_t>(item_tiles<Tile>(problem));
  work.items_per_head = (work.queries + work.item_rows - 1) / work.item_rows;
  work.items = static_cast<int32_t>(item_count<Tile>(problem));
  work.blocks = launch.multiprocessors;
  const int64_t steps = (shape.keys + Tile::kKeys - 1) / Tile::kKeys, rest = work.items % work.blocks;
  const bool cut = scratch.partials != nullptr && work.item_tiles <= kMostTilesCut && rest > 0 &&
                   work.item_tiles * (steps - steps * rest / work.blocks) >= kWorthCutting;
  work.whole = work.items - (cut ? static_cast<int32_t>(rest) : 0);
  if (!cut) work.blocks = std::min(work.blocks, work.items);

  const cudaError_t status = cudaFuncSetAttribute(kernel<Tile>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                  static_cast<int>(sizeof(Shared<Tile>)));
  if (status != cudaSuccess) return status;
  kernel<Tile><<<work.blocks, Tile::kThreads, sizeof(Shared<Tile>), launch.stream>>>(work);
  if (cut) {
    const dim3 grid(Tile::kWarps * work.item_tiles, work.items - work.whole);
    merge<Tile><<<grid, 32 * kMergeRows, 0, launch.stream>>>(work);
  }
  return cudaGetLastError();
}

}  // namespace tamias::dense_attention
