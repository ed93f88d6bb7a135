// From checked arguments to blocks of queries.
#pragma once

#include <cstdint>

#include "../common/work_plan.h"
#include "attention_kernels.h"
#include "common/checks/attention.h"

namespace tamias {

inline const AttentionKernels& attention_of(Isa isa) {
  return isa == Isa::avx512 ? avx512::attention_kernels : avx2::attention_kernels;
}

// A block of queries from `first` on, over all keys; no epilogue yet.
AttentionBlock block_of(const AttentionHeads& heads, int64_t batch, int64_t head, int64_t first, int64_t count);

// Address of [batch, head, query] of a view of rank 3 (a row statistic) or 4 (rows).
inline float* at(const View& view, int64_t batch, int64_t head, int64_t query) {
  return view.f32() + batch * view.stride[0] + head * view.stride[1] + query * view.stride[2];
}

// Calls body(first, count) for the blocks of a part of the queries [begin, end).
template <class Body>
void for_each_block(const WorkItem& item, int64_t panel, int64_t begin, int64_t end, const Body& body) {
  const int64_t panels = (end - begin + panel - 1) / panel;
  const int64_t first = begin + part_begin(panels, item.part, item.parts) * panel;
  const int64_t last = std::min(end, begin + part_begin(panels, item.part + 1, item.parts) * panel);
  for (int64_t query = first; query < last; query += kBlockQueries) {
    body(query, std::min(kBlockQueries, last - query));
  }
}

}  // namespace tamias
