// neuron_scores, update_chosen.
#include <cmath>

#include "../common/parallel.h"
#include "common/checks/selection.h"
#include "common/loops.h"
#include "readable_mask.h"

using namespace tamias;

extern "C" int32_t tamias_neuron_scores(uint64_t stream, const tamias_tensor* means_now,
                                        const tamias_tensor* means_cached, const tamias_tensor* column_norm,
                                        const tamias_tensor* out) {
  return run_op("neuron_scores", stream, [&](Op& op) {
    const NeuronScoresArguments arguments(op, means_now, means_cached, column_norm, out);
    if (arguments.out.empty()) return;
    op.submit([=](const Run& run) {
      const auto& [now, cached, norms, scores] = arguments;
      const int64_t hidden = now.size(2);
      parallel_for(run, row_count(now), hidden, [&](int64_t begin, int64_t end, int) {
        for (int64_t row = begin; row < end; ++row) {
          const float* a = now.f32() + row_offset(now, row);
          const float* b = cached.f32() + row_offset(cached, row);
          const float* norm = norms.f32();
          float* score = scores.f32() + row_offset(scores, row);
          const int64_t step = norms.stride[0];
          for (int64_t n = 0; n < hidden; ++n) score[n] = std::fabs(a[n] - b[n]) * norm[n * step];
        }
      });
    });
  });
}

namespace {

template <class Index>
void copy_chosen(const float* now, const Index* list, int64_t count, float* cached) {
  for (int64_t i = 0; i < count; ++i) cached[list[i]] = now[list[i]];
}

}  // namespace

extern "C" int32_t tamias_update_chosen(uint64_t stream, const tamias_tensor* now, const tamias_tensor* indices,
                                        const tamias_tensor* counts, const tamias_tensor* cached) {
  return run_op("update_chosen", stream, [&](Op& op) {
    const UpdateChosenArguments arguments(op, now, indices, counts, cached);
    if (arguments.cached.empty()) return;
    op.submit([=, mask = ReadableMask(arguments.mask)](const Run& run) {
      mask.check_contents("update_chosen", false);
      parallel_for(run, mask.size(), mask.columns, [&](int64_t begin, int64_t end, int) {
        for (int64_t group = begin; group < end; ++group) {
          const float* from = arguments.now.f32() + row_offset(arguments.now, group);
          float* to = arguments.cached.f32() + row_offset(arguments.cached, group);
          const int64_t count = mask.chosen(group);
          if (mask.every_column(group)) {
            for (int64_t i = 0; i < count; ++i) to[i] = from[i];
          } else if (mask.short_indices) {
            copy_chosen(from, static_cast<const uint16_t*>(mask.list(group)), count, to);
          } else {
            copy_chosen(from, static_cast<const int32_t*>(mask.list(group)), count, to);
          }
        }
      });
    });
  });
}
