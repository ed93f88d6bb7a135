// Second layer of the column-sparse MLP on Hopper: out += delta transposed times the chosen rows of W2 transposed. A
// tile is 128 tokens x N columns; both operands stand k-major in memory (a neuron is a row), so wgmma reads both
// transposed. Two warps gather, two warpgroups multiply, 64 tokens each, and leave their sums in shared memory; the
// other two warps add them to the output beside the next tile's products.
#include "../common/ptx_sm90.cuh"
#include "../common/wgmma_sm90.cuh"
#include "mlp_cluster_sm90.cuh"
#include "mlp_problem.h"
#include "mlp_tensor_map_sm90.h"
#include "mlp_tiles_sm90.cuh"

namespace tamias {
namespace sm90 {
namespace second {

constexpr int kThreads = 384;
constexpr int kProducers = 64;
constexpr int kFinishers = 64;
constexpr int kConsumerWarps = 8;
constexpr int kRead = 64;  // entries of a list that a producing warp pair reads at once

struct Arguments {
  Lists lists;
  int64_t groups, tokens;
  int32_t n;
  const char* delta;
  const char* w2t;
  uint32_t w2t_row16;  // bytes of a row / 16
  float* out;
  int64_t out_batch, out_row;
};

// kStep: neurons a stage holds.
template <int N, int kStep, int kStages, bool kReduce>
struct Shared {
  static constexpr int kPanels = (N + 63) / 64;
  static constexpr int kPanelBytes = kStep * 128;  // kStep neurons x 64 tokens or columns
  static constexpr int kDeltaBytes = 2 * kPanelBytes;
  static constexpr int kStageBytes = kDeltaBytes + kPanels * kPanelBytes;
  static constexpr int kStaging = kStages * kStageBytes;
  static constexpr int kPitch = N + (kReduce ? 8 : 0);
  static constexpr int kBarriers = kStaging + kGroup * kPitch * 4;
  static constexpr int kBytes = kBarriers + (2 * kStages + 2) * 8 + 1024;  // the base is aligned to 1024
};

// In the order of the program: several loads under way, and then one store after the other, need few registers.
__device__ __forceinline__ float4 load_now(const float* from) {
  float4 v;
  asm volatile("ld.global.v4.f32 {%0, %1, %2, %3}, [%4];" : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w) : "l"(from));
  return v;
}

__device__ __forceinline__ void store_now(float* to, float4 v) {
  asm volatile("st.global.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(to), "f"(v.x), "f"(v.y), "f"(v.z), "f"(v.w) : "memory");
}

// Where a row of the staging has its block of 8 columns: rows that are written together use different banks.
__device__ __forceinline__ int staged_block(int row, int block) { return block ^ row % 4; }

template <int N, int kStep, int kStages, int kCluster, bool kReduce>
__global__ void __launch_bounds__(kThreads, 1)
second_layer_kernel(const __grid_constant__ CUtensorMap delta_map, const __grid_constant__ Arguments a) {
  using Layout = Shared<N, kStep, kStages, kReduce>;
  constexpr int kPanelBytes = Layout::kPanelBytes;
  constexpr int kDeltaBytes = Layout::kDeltaBytes;
  extern __shared__ char unaligned[];
  const uint32_t skip = (1024 - shared_address(unaligned) % 1024) % 1024;
  char* shared = unaligned + skip;
  const uint32_t stages = shared_address(shared);
  uint64_t* full = reinterpret_cast<uint64_t*>(shared + Layout::kBarriers);
  uint64_t* empty = full + kStages;
  uint64_t* staged = empty + kStages;  // the staging holds a tile's sums
  uint64_t* unstaged = staged + 1;     // and is free again
  float* staging = reinterpret_cast<float*>(shared + Layout::kStaging);

  if (threadIdx.x == 0) {
    prefetch_map(&delta_map);
    for (int i = 0; i < kStages; ++i) {
      barrier_init(full + i, kProducers + 1);
      barrier_init(empty + i, kConsumerWarps * kCluster);
    }
    barrier_init(staged, kConsumerWarps);
    barrier_init(unstaged, kFinishers);
    barrier_init_fence();
  }
  uint32_t member = 0;
  if constexpr (kCluster > 1) {
    member = cluster_rank();
    cluster_barrier();
  } else {
    __syncthreads();
  }

  // A tile's rank is its place along the columns; a cluster takes as many neighbouring tiles as it has thread blocks.
  TileOrder order(a.lists);
  const auto tiles = [&](int count) { return count > 0 ? (a.n + N * kCluster - 1) / (N * kCluster) : 0; };
  const auto first_column = [&](const Tile& tile) { return (tile.rank * kCluster + static_cast<int>(member)) * N; };
  const int stride = gridDim.x / kCluster;
  Tile tile;
  Ring<kStages> ring;

  if (threadIdx.x < kProducers + kFinishers) give_registers<72>();
  if (threadIdx.x < kProducers) {
    const int thread = threadIdx.x;
    const int lane = thread % 32;
    const int row0 = thread / 8;  // of a pass of 8 rows
    const int chunk = thread % 8;
    const uint32_t to = kDeltaBytes + row0 * 128 + ((chunk ^ row0) << 4);
    const int listed = lane / 4 * 8 + thread / 32 * 4 + lane % 4;  // of the entries read at once, this lane's
    for (int at = blockIdx.x / kCluster; order.find(at, tiles, tile); at += stride) {
      const int count = tile.count;
      const List list = a.lists.of(tile.piece, tile.every);
      const int64_t delta_row = tile.piece * a.lists.mask.capacity;
      const int panels = (min(N, a.n - first_column(tile)) - chunk * 8 + 63) / 64;  // with columns at this thread's chunk
      const char* from = a.w2t + first_column(tile) * 2 + chunk * 16;
      int coming = list[min(listed, count - 1)];
      int neurons = 0;
      for (int first = 0; first < count; first += kStep) {
        if (first % kRead == 0) {
          neurons = first + listed < count ? a.lists.neuron(coming) : -1;
          coming = list[min(first + kRead + listed, count - 1)];
        }
        barrier_wait(empty + ring.stage, ring.phase ^ 1);
        const uint32_t stage = stages + ring.stage * Layout::kStageBytes;
        if (first + kStep <= count) {
          if (thread == 0) {
            barrier_expect(full + ring.stage, kDeltaBytes);
            if constexpr (kCluster > 1) {
              static_assert(kCluster == 2);  // each member brings one panel to both
              multicast_map_4d(stage + member * kPanelBytes, &delta_map, full + ring.stage, 3, 0,
                               static_cast<int>(delta_row + first), member, 0);
            } else {
              load_map_4d(stage, &delta_map, full + ring.stage, 0, static_cast<int>(delta_row + first), 0, 0);
            }
          }
        } else {  // what stands past the end of the list must not reach the product
          const int part = thread % 16;
          const char* rows = a.delta + (delta_row + first) * (kGroup * 2) + part * 16;
#pragma unroll 1
          for (int pass = 0; pass < kStep / 4; ++pass) {
            const int row = pass * 4 + thread / 16;
            const bool live = first + row < count;
            copy16(stage + part / 8 * kPanelBytes + row * 128 + ((part % 8 ^ row % 8) << 4),
                   rows + (live ? row : 0) * (kGroup * 2), live ? 16 : 0);
          }
          if (thread == 0) barrier_arrive(full + ring.stage);
        }
#pragma unroll
        for (int pass = 0; pass < kStep / 8; ++pass) {
          const int neuron = __shfl_sync(~0u, neurons, first % kRead / 2 + pass * 4 + lane / 8);
          const char* row = from + static_cast<int64_t>(static_cast<uint32_t>(max(neuron, 0)) * a.w2t_row16) * 16;
#pragma unroll
          for (int i = 0; i < Layout::kPanels; ++i) {
            if (i < panels) copy16(stage + to + i * kPanelBytes + pass * 1024, row + i * 128, neuron >= 0 ? 16 : 0);
          }
        }
        barrier_arrive_after_copies(full + ring.stage);
        ring.next();
      }
    }
    if constexpr (kCluster > 1) cluster_barrier();  // no member leaves while another may write to it
    return;
  }

  if (threadIdx.x < kProducers + kFinishers) {
    const int warp = (threadIdx.x - kProducers) / 32;
    const int lane = threadIdx.x % 32;
    constexpr int kFinisherWarps = kFinishers / 32;
    constexpr int kRows = 2;                       // a warp has under way
    constexpr int kParts = (N / 4 + 31) / 32;      // of 4 columns, a lane's in a row
    uint32_t phase = 0;
    for (int at = blockIdx.x / kCluster; order.find(at, tiles, tile); at += stride) {
      const int64_t token0 = tile.piece % a.groups * kGroup;
      const int tokens = static_cast<int>(min(a.tokens - token0, int64_t{kGroup}));
      const int columns = min(N, a.n - first_column(tile));
      float* out = a.out + tile.piece / a.groups * a.out_batch + token0 * a.out_row + first_column(tile) + lane * 4;
      for (int row = warp; row < tokens && !kReduce; row += kFinisherWarps) {
        if (lane * 32 < columns) asm volatile("prefetch.global.L2 [%0];" ::"l"(out + row * a.out_row + lane * 28));
      }
      barrier_wait(staged, phase);
      phase ^= 1;
      if constexpr (kReduce) {
        for (int row = threadIdx.x - kProducers; row < tokens; row += kFinishers) {
          asm volatile("cp.reduce.async.bulk.global.shared::cta.bulk_group.add.f32 [%0], [%1], %2;" ::"l"(out - lane * 4 + row * a.out_row), "r"(shared_address(staging + row * Layout::kPitch)), "r"(columns * 4) : "memory");
        }
        store_bulk_commit();
        store_bulk_wait_read<0>();
      } else for (int row0 = warp * kRows; row0 < tokens; row0 += kFinisherWarps * kRows) {
        float4 sums[kRows][kParts];
        float* rows = out + row0 * a.out_row;
#pragma unroll
        for (int i = 0; i < kRows; ++i) {
#pragma unroll
          for (int part = 0; part < kParts; ++part) {
            if (row0 + i < tokens && part * 128 + lane * 4 < columns) {
              sums[i][part] = load_now(rows + i * a.out_row + part * 128);
            }
          }
        }
#pragma unroll
        for (int i = 0; i < kRows; ++i) {
#pragma unroll
          for (int part = 0; part < kParts; ++part) {
            if (row0 + i >= tokens || part * 128 + lane * 4 >= columns) continue;
            const int block = staged_block(row0 + i, part * 16 + lane / 2);
            const float4 more = *reinterpret_cast<const float4*>(staging + (row0 + i) * N + block * 8 + lane % 2 * 4);
            const float4 sum = sums[i][part];
            store_now(rows + i * a.out_row + part * 128,
                      {sum.x + more.x, sum.y + more.y, sum.z + more.z, sum.w + more.w});
          }
        }
      }
      barrier_arrive(unstaged);
    }
    if constexpr (kCluster > 1) cluster_barrier();
    return;
  }

  take_registers<216>();
  const int half = threadIdx.x / 128 - 1;  // which 64 tokens
  const int warp = threadIdx.x / 32 % 4;
  const int lane = threadIdx.x % 32;
  const auto release = [&](uint64_t* barrier) {
    if constexpr (kCluster > 1) {
      if (lane < kCluster) barrier_arrive_at(barrier, lane);
    } else {
      if (lane == 0) barrier_arrive(barrier);
    }
  };
  const uint64_t delta0 = swizzled_tile(stages + half * kPanelBytes, kPanelBytes);
  const uint64_t weights0 = swizzled_tile(stages + kDeltaBytes, kPanelBytes);
  uint32_t phase = 0;
  for (int at = blockIdx.x / kCluster; order.find(at, tiles, tile); at += stride) {
    const int count = tile.count;
    float sums[N / 2];
#pragma unroll
    for (int i = 0; i < N / 2; ++i) sums[i] = 0;
    uint32_t previous = 0;
    for (int first = 0; first < count; first += kStep) {
      barrier_wait(full + ring.stage, ring.phase);
      fence_async();
      const uint64_t delta = advance(delta0, ring.stage * Layout::kStageBytes);
      const uint64_t weights = advance(weights0, ring.stage * Layout::kStageBytes);
      hold(sums);
      wgmma_fence();
#pragma unroll
      for (int k = 0; k < kStep / 16; ++k) {
        Wgmma<N>::template ss<1, 1>(sums, advance(delta, k * 2048), advance(weights, k * 2048));
      }
      wgmma_commit();
      hold(sums);
      wgmma_wait<1>();
      if (first > 0) release(empty + previous);
      previous = ring.stage;
      ring.next();
    }
    wgmma_wait<0>();
    hold(sums);
    release(empty + previous);

    barrier_wait(unstaged, phase ^ 1);
    phase ^= 1;
    const int row = half * 64 + warp * 16 + lane / 4;
#pragma unroll
    for (int block = 0; block < N / 8; ++block) {
      float* to = staging + row * Layout::kPitch + (kReduce ? block : staged_block(row, block)) * 8 + lane % 4 * 2;  // row + 8 has the same places
      *reinterpret_cast<float2*>(to) = {sums[block * 4], sums[block * 4 + 1]};
      *reinterpret_cast<float2*>(to + 8 * Layout::kPitch) = {sums[block * 4 + 2], sums[block * 4 + 3]};
    }
    if constexpr (kReduce) fence_async();
    __syncwarp();
    if (lane == 0) barrier_arrive(staged);
  }
  if constexpr (kCluster > 1) cluster_barrier();
}

template <int N, int kStep, int kStages, int kCluster, bool kReduce>
cudaError_t launch_tiles(const SecondLayer& p, const Launch& launch) {
  using Layout = Shared<N, kStep, kStages, kReduce>;
  static_assert(Layout::kBytes <= 232448 && N % 32 == 0);
  const int64_t groups = (p.tokens + p.group - 1) / p.group;
  const uint64_t rows = p.batch * groups * p.mask.capacity;
  CUtensorMap delta_map;
  cudaError_t error = encode_map<4>(&delta_map, p.delta, {64, rows, 2, 1}, {kGroup * 2, 128, kGroup * 2},
                                    {64, kStep, 2 / kCluster, 1});
  if (error != cudaSuccess) return error;
  const Arguments arguments{
      .lists = {p.mask, int32_t(p.batch * groups), int32_t(p.hidden)},
      .groups = groups,
      .tokens = p.tokens,
      .n = int32_t(p.n),
      .delta = reinterpret_cast<const char*>(p.delta),
      .w2t = reinterpret_cast<const char*>(p.w2t),
      .w2t_row16 = uint32_t(p.w2t_row / 8),
      .out = p.out,
      .out_batch = p.out_batch,
      .out_row = p.out_row,
  };
  const auto kernel = second_layer_kernel<N, kStep, kStages, kCluster, kReduce>;
  error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Layout::kBytes);
  if (error != cudaSuccess) return error;
  cudaLaunchAttribute cluster{.id = cudaLaunchAttributeClusterDimension};
  cluster.val.clusterDim = {kCluster, 1, 1};
  const cudaLaunchConfig_t configuration{.gridDim = uint32_t(launch.multiprocessors / kCluster * kCluster),
                                         .blockDim = kThreads,
                                         .dynamicSmemBytes = Layout::kBytes,
                                         .stream = launch.stream,
                                         .attrs = &cluster,
                                         .numAttrs = 1};
  return cudaLaunchKernelEx(&configuration, kernel, delta_map, arguments);
}

}  // namespace second
}  // namespace sm90

bool second_layer_sm90_fits(const SecondLayer& p) {
  const auto aligned = [](const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; };
  const int64_t groups = (p.tokens + p.group - 1) / p.group;
  return p.group == sm90::kGroup && p.mask.counts != nullptr && p.n > 0 && p.n % 64 == 0 && p.w2t_row > 0 &&
         p.w2t_row % 8 == 0 && p.out_row % 4 == 0 && p.out_batch % 4 == 0 && aligned(p.delta) && aligned(p.w2t) &&
         aligned(p.out) && p.hidden * (p.w2t_row / 8) <= UINT32_MAX &&
         p.batch * groups <= INT32_MAX - sm90::kBlockOfGroups && p.batch * groups * p.mask.capacity <= INT32_MAX;
}

size_t second_layer_sm90_workspace(const SecondLayer&, int) { return 0; }

cudaError_t second_layer_sm90(const SecondLayer& p, const Launch& launch) {
  return sm90::second::launch_tiles<192, 64, 3, 1, true>(p, launch);
}

}  // namespace tamias
