// fc2 of the column-sparse MLP on Hopper: out += delta transposed times the chosen rows of W2 transposed. A
// tile is 128 tokens x N columns; both operands stand k-major in memory (a neuron is a row), so wgmma reads both
// transposed. One warpgroup gathers rows of W2 by cp.async while the copy engine brings the delta, which a pair of
// thread blocks shares; two warpgroups multiply, 64 tokens each. An element of the output belongs to one tile, so
// adding in the L2 cache is exact and repeatable.
#include "../common/ptx_sm90.cuh"
#include "../common/wgmma_sm90.cuh"
#include "mlp_cluster_sm90.cuh"
#include "mlp_problem.h"
#include "mlp_tensor_map_sm90.h"
#include "mlp_tiles_sm90.cuh"

namespace tamias {
namespace sm90 {
namespace fc2 {

constexpr int kThreads = 384;
constexpr int kProducers = 128;
constexpr int kConsumerWarps = 8;
constexpr int kCluster = 2;
constexpr int kStep = 64;   // neurons a stage holds
constexpr int kRead = 128;  // entries of a list that the producers read at once
constexpr int kPanelBytes = kStep * 128;  // kStep neurons x 64 tokens or columns
constexpr int kDeltaBytes = 2 * kPanelBytes;

struct Arguments {
  Lists lists;
  int64_t groups, tokens;
  int32_t n;
  const char* delta;
  const char* w2t;
  uint32_t w2t_row;  // bytes
  float* out;
  int64_t out_batch, out_row;
};

template <int N>
struct Shared {
  static constexpr int kStages = N > 192 ? 4 : 5;
  static constexpr int kStageBytes = kDeltaBytes + (N + 63) / 64 * kPanelBytes;
  static constexpr int kBarriers = kStages * kStageBytes;
  static constexpr int kBytes = kBarriers + 2 * kStages * 8 + 1024;  // the base is aligned to 1024
};

__device__ __forceinline__ void add_to(float* to, float4 v) {
  asm volatile("red.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(to), "f"(v.x), "f"(v.y), "f"(v.z), "f"(v.w)
               : "memory");
}

template <int N>
__global__ void __launch_bounds__(kThreads, 1)
fc2_kernel(const __grid_constant__ CUtensorMap delta_map, const __grid_constant__ Arguments a) {
  using Layout = Shared<N>;
  constexpr int kStages = Layout::kStages;
  extern __shared__ char unaligned[];
  const uint32_t skip = (1024 - shared_address(unaligned) % 1024) % 1024;
  char* shared = unaligned + skip;
  const uint32_t stages = shared_address(shared);
  uint64_t* full = reinterpret_cast<uint64_t*>(shared + Layout::kBarriers);
  uint64_t* empty = full + kStages;

  if (threadIdx.x == 0) {
    prefetch_map(&delta_map);
    for (int i = 0; i < kStages; ++i) {
      barrier_init(full + i, kProducers + 1);
      barrier_init(empty + i, kConsumerWarps * kCluster);
    }
    barrier_init_fence();
  }
  cluster_barrier();
  const int member = static_cast<int>(cluster_rank());

  // A tile's rank is its place along the columns; a cluster takes as many neighbouring tiles as it has thread blocks.
  TileOrder order(a.lists);
  const auto tiles = [&](int count) { return count > 0 ? (a.n + N * kCluster - 1) / (N * kCluster) : 0; };
  const auto first_column = [&](const Tile& tile) { return (tile.rank * kCluster + member) * N; };
  const int stride = gridDim.x / kCluster;
  Tile tile;

  if (threadIdx.x < kProducers) {
    give_registers<88>();
    const int thread = threadIdx.x;
    const int lane = thread % 32;
    const int row0 = thread / 8;  // of a pass of 16 rows
    const int chunk = thread % 8;
    uint32_t phase = 0;
    int start = 0;  // the stage that the next tile begins with
    const char* rows[kStages][kStep / 16] = {};
    const uint32_t to = stages + kDeltaBytes + row0 * 128 + ((chunk ^ row0 % 8) << 4);
    const int listed = lane / 4 * 16 + thread / 32 * 4 + lane % 4;  // of the entries read at once, this lane's
    for (int at = blockIdx.x / kCluster; order.find(at, tiles, tile); at += stride) {
      const int count = tile.count;
      const List list = a.lists.of(tile.piece, tile.every);
      const int64_t delta_row = tile.piece * a.lists.mask.capacity;
      // Panels that have columns at this thread's chunk.
      const int panels = (min(N, a.n - first_column(tile)) - chunk * 8 + 63) / 64;
      const char* from = in_register(a.w2t + first_column(tile) * 2 + chunk * 16);
      const bool inside = first_column(tile) + N <= a.n;
      int coming = list[min(listed, count - 1)];
      int neurons = 0;
      for (int turn = -start * kStep; turn < count; turn += kStages * kStep) {
#pragma unroll
        for (int place = 0; place < kStages; ++place) {
          const int first = turn + place * kStep;
          if (first < 0 || first >= count) continue;
          if (first % kRead == 0) {
            neurons = first + listed < count ? a.lists.neuron(coming) : -1;
            coming = list[min(first + kRead + listed, count - 1)];
          }
          barrier_wait(empty + place, phase ^ 1);
          const uint32_t stage = stages + place * Layout::kStageBytes;
          const bool whole = first + kStep <= count;
          if (whole) {
            if (thread == 0) {
              barrier_expect(full + place, kDeltaBytes);
              // Each member brings one panel to both.
              multicast_map_4d(stage + member * kPanelBytes, &delta_map, full + place, 3, 0,
                               static_cast<int>(delta_row + first), member, 0);
            }
          } else {  // what stands past the end of the list must not reach the product
            const int part = thread % 16;
            const char* rows_left = a.delta + (delta_row + first) * (kGroup * 2) + part * 16;
#pragma unroll 1
            for (int pass = 0; pass < kStep / 8; ++pass) {
              const int row = pass * 8 + thread / 16;
              const bool live = first + row < count;
              copy16(stage + part / 8 * kPanelBytes + row * 128 + ((part % 8 ^ row % 8) << 4),
                     rows_left + (live ? row : 0) * (kGroup * 2), live ? 16 : 0);
            }
            if (thread == 0) barrier_arrive(full + place);
          }
          int neuron[kStep / 16];
#pragma unroll
          for (int pass = 0; pass < kStep / 16; ++pass) {
            neuron[pass] = __shfl_sync(~0u, neurons, first % kRead / 4 + pass * 4 + lane / 8);
            // A copy holds its address register until it has landed: each stage has its own.
            asm volatile("" ::"l"(rows[place][pass]));
            rows[place][pass] = further(from, max(neuron[pass], 0), a.w2t_row);
          }
          if (inside && whole) {
#pragma unroll
            for (int pass = 0; pass < kStep / 16; ++pass) {
#pragma unroll
              for (int i = 0; i < N / 64; ++i) {
                copy16(to + place * Layout::kStageBytes + i * kPanelBytes + pass * 2048, rows[place][pass] + i * 128);
              }
              if (N % 64 != 0 && chunk < N % 64 / 8) {
                copy16(to + place * Layout::kStageBytes + N / 64 * kPanelBytes + pass * 2048,
                       rows[place][pass] + N / 64 * 128);
              }
            }
          } else {
#pragma unroll
            for (int pass = 0; pass < kStep / 16; ++pass) {
#pragma unroll 1
              for (int i = 0; i < panels; ++i) {
                copy16(to + place * Layout::kStageBytes + i * kPanelBytes + pass * 2048, rows[place][pass] + i * 128,
                       neuron[pass] >= 0 ? 16 : 0);
              }
            }
          }
          barrier_arrive_after_copies(full + place);
          if (place == kStages - 1) phase ^= 1;
        }
      }
      start = (start + (count + kStep - 1) / kStep) % kStages;
    }
    cluster_barrier();  // no member leaves while another may write to it
    return;
  }

  take_registers<208>();
  const int half = threadIdx.x / 128 - 1;  // which 64 tokens
  const int warp = threadIdx.x / 32 % 4;
  const int lane = threadIdx.x % 32;
  const auto release = [&](uint64_t* barrier) {
    if (lane < kCluster) barrier_arrive_at(barrier, lane);
  };
  const uint64_t delta0 = swizzled_tile(stages + half * kPanelBytes, kPanelBytes);
  const uint64_t weights0 = swizzled_tile(stages + kDeltaBytes, kPanelBytes);
  Ring<kStages> ring;
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

    // Lanes swap halves of two neighbouring blocks of 8 columns, so that each has 4 columns of one block.
    const int64_t token = tile.piece % a.groups * kGroup + half * 64 + warp * 16 + lane / 4;
    const bool odd = lane % 2 != 0;
    float* out = a.out + tile.piece / a.groups * a.out_batch + token * a.out_row + first_column(tile) +
                 (odd ? 8 : 0) + lane % 4 / 2 * 4;
#pragma unroll
    for (int below = 0; below < 2; ++below) {
      const bool live = token + below * 8 < a.tokens;
      float* row = out + below * 8 * a.out_row;
#pragma unroll
      for (int block = 0; block < N / 8; block += 2) {
        const float* left = sums + block * 4 + below * 2;
        const float* right = left + 4;
        const float x = __shfl_xor_sync(~0u, odd ? left[0] : right[0], 1);
        const float y = __shfl_xor_sync(~0u, odd ? left[1] : right[1], 1);
        if (!live || first_column(tile) + block * 8 >= a.n) continue;
        add_to(row + block * 8, odd ? float4{x, y, right[0], right[1]} : float4{left[0], left[1], x, y});
      }
    }
  }
  cluster_barrier();
}

template <int N>
cudaError_t launch_tiles(const Fc2& p, const Launch& launch) {
  using Layout = Shared<N>;
  static_assert(Layout::kBytes <= 232448);
  const int64_t groups = (p.tokens + p.group - 1) / p.group;
  const uint64_t rows = p.batch * groups * p.mask.capacity;
  CUtensorMap delta_map;
  cudaError_t error = encode_map<4>(&delta_map, p.delta, {64, rows, 2, 1}, {kGroup * 2, 128, kGroup * 2},
                                    {64, kStep, 1, 1});
  if (error != cudaSuccess) return error;
  const Arguments arguments{
      .lists = {p.mask, int32_t(p.batch * groups), int32_t(p.hidden)},
      .groups = groups,
      .tokens = p.tokens,
      .n = int32_t(p.n),
      .delta = reinterpret_cast<const char*>(p.delta),
      .w2t = reinterpret_cast<const char*>(p.w2t),
      .w2t_row = uint32_t(p.w2t_row * 2),
      .out = p.out,
      .out_batch = p.out_batch,
      .out_row = p.out_row,
  };
  const auto kernel = fc2_kernel<N>;
  error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Layout::kBytes);
  if (error != cudaSuccess) return error;
  cudaLaunchAttribute cluster{};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {kCluster, 1, 1};
  const cudaLaunchConfig_t configuration{.gridDim = uint32_t(launch.multiprocessors / kCluster * kCluster),
                                         .blockDim = kThreads,
                                         .dynamicSmemBytes = Layout::kBytes,
                                         .stream = launch.stream,
                                         .attrs = &cluster,
                                         .numAttrs = 1};
  return cudaLaunchKernelEx(&configuration, kernel, delta_map, arguments);
}

}  // namespace fc2
}  // namespace sm90

bool fc2_sm90_fits(const Fc2& p) {
  const auto aligned = [](const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; };
  const int64_t pieces = p.batch * ((p.tokens + p.group - 1) / p.group);
  return p.group == sm90::kGroup && p.mask.counts != nullptr && p.n > 0 && p.n % 64 == 0 && p.w2t_row > 0 &&
         p.w2t_row % 8 == 0 && p.w2t_row <= INT32_MAX && p.out_row % 4 == 0 && p.out_batch % 4 == 0 &&
         aligned(p.delta) && aligned(p.w2t) && aligned(p.out) && pieces * p.mask.capacity <= INT32_MAX &&
         sm90::tiles_can_be_counted(pieces, p.n);
}

size_t fc2_sm90_workspace(const Fc2&, int) { return 0; }

cudaError_t fc2_sm90(const Fc2& p, const Launch& launch) {
  using namespace sm90::fc2;
  const int64_t pieces = p.batch * ((p.tokens + p.group - 1) / p.group);
  if (pieces * p.n * p.mask.capacity == 0) return cudaSuccess;
  const int width = sm90::best_width({256, 224, 192}, pieces, p.n, launch.multiprocessors, kCluster);
  return width == 256   ? launch_tiles<256>(p, launch)
         : width == 224 ? launch_tiles<224>(p, launch)
                        : launch_tiles<192>(p, launch);
}

}  // namespace tamias
