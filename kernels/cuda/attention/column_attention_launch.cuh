// The kernels' launch: how groups are cut into items, the workspace, the grid.
#pragma once

#include "column_attention_kernel.cuh"

namespace tamias::column_attention {

constexpr int64_t kCacheBytes = int64_t{48} << 20;  // of L2, that keys and values in use may fill

inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// How groups are cut into items, and the workspace.
struct Plan {
  int warpgroups;
  int64_t lists, groups, rows, most_items, heads_at_once;
  int grid, slots;
  size_t next_at, finished_at, items_at, partials_at, bytes;

  Plan(const ColumnAttention& p, int multiprocessors) {
    groups = divide_up(p.shape.queries, p.group);
    lists = groups * p.shape.heads * p.shape.batch;
    const int64_t parts = divide_up(p.group, 192);
    rows = divide_up(divide_up(p.group, parts), 64) * 64;
    warpgroups = rows > 128 ? 3 : 2;
    grid = multiprocessors;
    slots = 3 * grid;
    most_items = lists * divide_up(p.group, rows) + slots;
    const int64_t head_bytes = p.shape.keys * p.shape.head_dim * 4;
    heads_at_once = head_bytes >= kCacheBytes ? 1 : kCacheBytes / (head_bytes > 0 ? head_bytes : 1);
    const auto place = [this](size_t size) {
      const size_t at = bytes;
      bytes += (size + 255) / 256 * 256;
      return at;
    };
    bytes = 0;
    next_at = place(sizeof(uint32_t));
    finished_at = place(slots * 4 * sizeof(uint32_t));
    items_at = place((most_items + grid) * sizeof(ColumnItem));
    partials_at = place(slots * (warpgroups * (p.shape.head_dim / 8 + 1) * 128 * sizeof(float4)));
  }
};

template <class Kernel, class... Arguments>
cudaError_t launch_kernel(Kernel* kernel, int grid, int threads, int shared, cudaStream_t stream, bool early,
                          const Arguments&... arguments) {
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = threads;
  config.dynamicSmemBytes = shared;
  config.stream = stream;
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &attribute;
  config.numAttrs = early ? 1 : 0;
  return cudaLaunchKernelEx(&config, kernel, arguments...);
}

template <class T>
cudaError_t attend(const ColumnAttention& problem, const Launch& launch) {
  const Plan plan(problem, launch.multiprocessors);
  ColumnSchedule schedule{};
  schedule.counts = problem.counts;
  schedule.capacity = problem.capacity;
  schedule.lists = static_cast<int32_t>(plan.lists);
  schedule.heads = problem.shape.heads;
  schedule.groups = static_cast<int32_t>(plan.groups);
  schedule.group = static_cast<int32_t>(problem.group < problem.shape.queries ? problem.group : problem.shape.queries);
  schedule.queries = static_cast<int32_t>(problem.shape.queries);
  schedule.keys = static_cast<int32_t>(problem.shape.keys);
  schedule.rows = static_cast<int32_t>(plan.rows);
  schedule.tile = T::kKeys;
  schedule.heads_at_once = static_cast<int32_t>(plan.heads_at_once);
  schedule.grid = plan.grid;
  schedule.slots = plan.slots;
  schedule.failure = problem.failure;
  schedule.next = reinterpret_cast<uint32_t*>(launch.workspace + plan.next_at);
  schedule.finished = reinterpret_cast<uint32_t*>(launch.workspace + plan.finished_at);
  schedule.items = reinterpret_cast<ColumnItem*>(launch.workspace + plan.items_at);
  const int64_t sets = divide_up(int64_t{problem.shape.batch} * problem.shape.heads, plan.heads_at_once);
  cudaError_t error = launch_kernel(schedule_columns, static_cast<int>(sets + 1), kScheduleThreads, 0, launch.stream,
                                    false, schedule);
  if (error != cudaSuccess) return error;

  const Arguments arguments{problem, schedule.items, schedule.next, schedule.finished,
                            reinterpret_cast<float4*>(launch.workspace + plan.partials_at)};
  constexpr int kShared = shared_bytes<T>();
  error = cudaFuncSetAttribute(attend_columns<T>, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared);
  if (error != cudaSuccess) return error;
  return launch_kernel(attend_columns<T>, plan.grid, T::kThreads, kShared, launch.stream, true, arguments);
}

}  // namespace tamias::column_attention
