// select_top_k, select_mass, select_threshold.
#include <algorithm>

#include "../common/parallel.h"
#include "common/checks/selection.h"
#include "select_row.h"

using namespace tamias;

namespace {

// count(row, keys) says how many columns of a row are to be chosen.
template <class Count>
void select(Op& op, const tamias_tensor* scores_tensor, const tamias_tensor* always_tensor,
            const tamias_tensor* dense_tensor, const tamias_tensor* indices, const tamias_tensor* counts,
            const Count& count) {
  const SelectionArguments arguments(op, scores_tensor, always_tensor, dense_tensor, indices, counts);
  const int64_t columns = arguments.mask.columns;
  Scratch space;
  const size_t keys = space.take(columns * op.device().threads() * static_cast<int64_t>(sizeof(uint32_t)));
  op.workspace(space);
  if (arguments.mask.counts.empty()) return;
  op.submit([=](const Run& run) {
    const auto& [scores, always, dense, mask] = arguments;
    const int64_t groups = mask.groups;
    parallel_for(run, mask.size(), 8 * columns, [&](int64_t begin, int64_t end, int thread) {
      uint32_t* row_keys = Scratch::at<uint32_t>(run, keys) + thread * columns;
      for (int64_t index = begin; index < end; ++index) {
        int32_t& chosen = mask.counts.as<int32_t>()[index];
        const int64_t group = index % groups;
        if (dense && dense.as<uint8_t>()[group * dense.stride[0]]) {
          chosen = TAMIAS_ALL_COLUMNS;
          continue;
        }
        const int64_t list = index / groups;
        const float* row_scores = scores.f32() + list / mask.lists * scores.stride[0] +
                                  list % mask.lists * scores.stride[1] + group * scores.stride[2];
        const ScoreRow row = {row_scores, always ? always.as<uint8_t>() : nullptr, always ? always.stride[0] : 0,
                              columns};
        const int64_t wanted = std::min(count(row, row_keys), mask.capacity);
        const int64_t index_size = mask.short_indices ? 2 : 4;
        write_selection(row, row_keys, wanted, mask.short_indices,
                        mask.indices.data + index * mask.capacity * index_size);
        chosen = static_cast<int32_t>(wanted);
      }
    });
  });
}

}  // namespace

extern "C" int32_t tamias_select_top_k(uint64_t stream, const tamias_tensor* scores, int64_t k,
                                       const tamias_tensor* always, const tamias_tensor* dense_groups,
                                       const tamias_tensor* indices, const tamias_tensor* counts) {
  return run_op("select_top_k", stream, [&](Op& op) {
    check_top_k(k);
    select(op, scores, always, dense_groups, indices, counts,
           [=](const ScoreRow& row, uint32_t* keys) { return count_top_k(row, k, keys); });
  });
}

extern "C" int32_t tamias_select_mass(uint64_t stream, const tamias_tensor* scores, float mass, int64_t minimum,
                                      int64_t maximum, const tamias_tensor* always, const tamias_tensor* dense_groups,
                                      const tamias_tensor* indices, const tamias_tensor* counts) {
  return run_op("select_mass", stream, [&](Op& op) {
    check_mass(mass, minimum, maximum);
    select(op, scores, always, dense_groups, indices, counts, [=](const ScoreRow& row, uint32_t* keys) {
      return count_mass(row, mass, minimum, maximum, keys);
    });
  });
}

extern "C" int32_t tamias_select_threshold(uint64_t stream, const tamias_tensor* scores, float z, int64_t maximum,
                                           const tamias_tensor* always, const tamias_tensor* dense_groups,
                                           const tamias_tensor* indices, const tamias_tensor* counts) {
  return run_op("select_threshold", stream, [&](Op& op) {
    check_threshold(z, maximum);
    select(op, scores, always, dense_groups, indices, counts,
           [=](const ScoreRow& row, uint32_t* keys) { return count_threshold(row, z, maximum, keys); });
  });
}
