// neuron_scores, update_chosen.
#include <algorithm>

#include "../nn/map.cuh"
#include "common/checks/selection.h"
#include "runtime/fault.h"

using namespace tamias;

namespace {

struct WeightedChange {
  __device__ float operator()(const float (&x)[3]) const { return fabsf(x[0] - x[1]) * x[2]; }
};

// The same norms for every group: [hidden] as [batch, groups, hidden].
View for_each_group(const View& norms, const View& like) {
  View repeated = like;
  repeated.data = norms.data;
  repeated.stride[0] = repeated.stride[1] = 0;
  repeated.stride[2] = norms.stride[0];
  return repeated;
}

constexpr int kThreads = 256;

struct Update {
  const float* now;
  float* cached;
  int64_t now_batch, now_group, cached_batch, cached_group;
  int64_t groups, columns, capacity;
  const void* indices;
  const int32_t* counts;
};

// `blocks` share a group's list.
template <class Index>
__global__ __launch_bounds__(kThreads) void update_chosen(const Update problem, uint32_t blocks, uint32_t* failure) {
  const uint32_t group = blockIdx.x / blocks;
  const uint32_t batch = group / static_cast<uint32_t>(problem.groups);
  const uint32_t own = group - batch * static_cast<uint32_t>(problem.groups);
  const float* now = problem.now + batch * problem.now_batch + own * problem.now_group;
  float* cached = problem.cached + batch * problem.cached_batch + own * problem.cached_group;
  const int64_t count = problem.counts[group];
  if (count < TAMIAS_ALL_COLUMNS || count > problem.capacity) {
    *failure = kWrongMask;
    return;
  }
  const int64_t first = int64_t{blockIdx.x - group * blocks} * kThreads + threadIdx.x;
  const int64_t step = int64_t{blocks} * kThreads;
  if (count == TAMIAS_ALL_COLUMNS) {
    for (int64_t i = first; i < problem.columns; i += step) cached[i] = now[i];
    return;
  }
  const Index* list = static_cast<const Index*>(problem.indices) + group * problem.capacity;
  for (int64_t i = first; i < count; i += step) {
    const auto column = static_cast<uint32_t>(list[i]);
    if (column < problem.columns) {
      cached[column] = now[column];
    } else {
      *failure = kWrongMask;
    }
  }
}

}  // namespace

extern "C" int32_t tamias_neuron_scores(uint64_t stream, const tamias_tensor* means_now,
                                        const tamias_tensor* means_cached, const tamias_tensor* column_norm,
                                        const tamias_tensor* out) {
  return run_op("neuron_scores", stream, [&](Op& op) {
    const NeuronScoresArguments a(op, means_now, means_cached, column_norm, out);
    if (a.out.empty()) return;
    op.submit([=](const Run& run) {
      map(run, WeightedChange(), {a.out, a.means_now, a.means_cached, for_each_group(a.column_norm, a.out)});
    });
  });
}

extern "C" int32_t tamias_update_chosen(uint64_t stream, const tamias_tensor* now, const tamias_tensor* indices,
                                        const tamias_tensor* counts, const tamias_tensor* cached) {
  return run_op("update_chosen", stream, [&](Op& op) {
    const UpdateChosenArguments a(op, now, indices, counts, cached);
    if (a.cached.empty()) return;
    const Update problem = {a.now.f32(),          a.cached.f32(),        a.now.step(0),           a.now.step(1),
                            a.cached.step(0),     a.cached.step(1),      a.mask.groups,           a.mask.columns,
                            a.mask.capacity,      a.mask.indices.data,   a.mask.counts.as<int32_t>()};
    const int64_t groups = a.mask.size();
    constexpr int64_t kOwn = 4 * kThreads;  // columns
    const auto blocks = static_cast<uint32_t>(std::min<int64_t>((a.mask.columns + kOwn - 1) / kOwn, 16));
    if (groups > INT32_MAX / 16) refuse("counts has %lld groups, more than a grid", (long long)groups);
    op.submit([=](const Run& run) {
      const auto kernel = a.mask.short_indices ? update_chosen<uint16_t> : update_chosen<int32_t>;
      kernel<<<static_cast<unsigned>(groups) * blocks, kThreads, 0, run.stream>>>(problem, blocks, run.failure);
    });
  });
}
