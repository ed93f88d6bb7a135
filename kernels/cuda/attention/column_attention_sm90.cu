#include "column_attention_launch.cuh"

#include <climits>

namespace tamias {
namespace {

using namespace column_attention;

template <class T>
bool rows_aligned(const HeadRows<T>& rows) {
  return reinterpret_cast<uintptr_t>(rows.data) % 16 == 0 && rows.batch % 8 == 0 && rows.head % 8 == 0 &&
         rows.row % 8 == 0;
}

bool gatherable(const HeadRows<const __nv_bfloat16>& rows) { return rows_aligned(rows) && rows.row <= INT_MAX / 2; }

}  // namespace

bool column_attention_sm90_fits(const ColumnAttention& p) {
  const AttentionShape& shape = p.shape;
  const int64_t longest = INT_MAX - 4096;
  return (shape.head_dim == 64 || shape.head_dim == 128) && shape.scale > 0 && shape.queries > 0 &&
         shape.queries < longest && shape.keys > 0 && shape.keys < longest && p.group > 0 && p.group < longest &&
         divide_up(shape.queries, p.group) * shape.heads * shape.batch < longest && gatherable(p.q) &&
         gatherable(p.k) && gatherable(p.v) && rows_aligned(p.out) && (p.rule == kNone || rows_aligned(p.cache));
}

size_t column_attention_sm90_workspace(const ColumnAttention& problem, int multiprocessors) {
  return Plan(problem, multiprocessors).bytes;
}

cudaError_t column_attention_sm90(const ColumnAttention& problem, const Launch& launch) {
  const bool wide = Plan(problem, launch.multiprocessors).warpgroups == 3;
  if (problem.shape.head_dim == 128) {
    return wide ? attend<Tiles<128, 3>>(problem, launch) : attend<Tiles<128, 2>>(problem, launch);
  }
  return wide ? attend<Tiles<64, 3>>(problem, launch) : attend<Tiles<64, 2>>(problem, launch);
}

}  // namespace tamias
