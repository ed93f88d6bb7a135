// fc1 of the column-sparse MLP on Hopper. A tile is 128 tokens x N chosen neurons: one warpgroup gathers rows
// of W1 by cp.async while the copy engine brings the tokens (and W1 too where every neuron is wanted), two warpgroups
// multiply, 64 tokens each. The same warpgroups finish the tile: they overwrite the cached activations of the chosen
// neurons and leave the differences.
#include "../common/ptx_sm90.cuh"
#include "../common/wgmma_sm90.cuh"
#include "../../include/tamias.h"
#include "mlp_problem.h"
#include "mlp_tensor_map_sm90.h"
#include "mlp_tiles_sm90.cuh"

#include <algorithm>

namespace tamias {
namespace sm90 {
namespace fc1 {

constexpr int kStep = 64;  // elements of d a stage holds
constexpr int kThreads = 384;
constexpr int kProducers = 128;
constexpr int kConsumerWarps = 8;
constexpr int kTokenBytes = kGroup * kStep * 2;

struct Arguments {
  Lists lists;
  int64_t groups, tokens;
  int32_t steps;  // of d
  const char* w1;
  uint32_t w1_row16;  // bytes of a row / 16
  const __nv_bfloat16* b1;
  int32_t activation;
  __nv_bfloat16* activations;
  __nv_bfloat16* delta;
};

template <int N>
struct Shared {
  static constexpr int kStages = N > 192 ? 3 : 4;
  static constexpr int kStageBytes = kTokenBytes + N * kStep * 2;
  static constexpr int kPanelBytes = N * 128;  // N neurons x 64 tokens
  static constexpr int kStaging = kStages * kStageBytes;
  static constexpr int kBias = kStaging + 2 * kPanelBytes;
  static constexpr int kNeurons = kBias + 2 * N * 4;
  static constexpr int kBarriers = kNeurons + 2 * N * 4;
  static constexpr int kBytes = kBarriers + (2 * kStages + 2) * 8 + 1024;  // the base is aligned to 1024
};

template <int kActivation>
__device__ __forceinline__ float activate(float x) {
  if constexpr (kActivation == TAMIAS_SILU) return __fdividef(x, 1.f + __expf(-x));
  if constexpr (kActivation == TAMIAS_QUICK_GELU) return __fdividef(x, 1.f + __expf(-1.702f * x));
  if constexpr (kActivation == TAMIAS_GELU_TANH) {
    const float half = .5f * x;
    return fmaf(half, tanh_fast(x * fmaf(.7978845608f * .044715f * x, x, .7978845608f)), half);
  }
  if constexpr (kActivation == TAMIAS_GELU_ERF) return .5f * x * (1.f + erff(x * .7071067812f));
  return x;
}

// `from` + 16 * units, in one instruction: left to itself the compiler keeps 64-bit products of all rows in registers.
__device__ __forceinline__ const char* units_further(const char* from, uint32_t units) {
  const char* address;
  asm("mad.wide.u32 %0, %1, 16, %2;" : "=l"(address) : "r"(units), "l"(from));
  return address;
}

__device__ __forceinline__ void load_transposed(uint32_t (&to)[4], uint32_t from) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(from)
               : "memory");
}

__device__ __forceinline__ void store_transposed(uint32_t to, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(to), "r"(a), "r"(b),
               "r"(c), "r"(d)
               : "memory");
}

__device__ __forceinline__ uint32_t subtract(uint32_t a, uint32_t b) {
  const __nv_bfloat162 difference =
      __hsub2(reinterpret_cast<const __nv_bfloat162&>(a), reinterpret_cast<const __nv_bfloat162&>(b));
  return reinterpret_cast<const uint32_t&>(difference);
}

// Accumulators become new activations in the warpgroup's panel of the staging, and differences in `differences`.
// `panel`: this lane's address for the transposing instructions. live0, live1: whether its two tokens exist.
template <int kActivation, int N>
__device__ __forceinline__ void activate_tile(float (&sums)[N / 2], uint32_t (&differences)[N / 4], uint32_t panel,
                                              const float* bias, bool live0, bool live1, bool sparse) {
  const int pair = threadIdx.x % 4 * 2;
#pragma unroll
  for (int block = 0; block < N / 16; ++block) {
    const float2 low = *reinterpret_cast<const float2*>(bias + block * 16 + pair);
    const float2 high = *reinterpret_cast<const float2*>(bias + block * 16 + 8 + pair);
    const float* sum = sums + block * 8;
    uint32_t fresh[4];
    fresh[0] = pack_bf16(activate<kActivation>(sum[0] + low.x), activate<kActivation>(sum[1] + low.y));
    fresh[1] = pack_bf16(activate<kActivation>(sum[2] + low.x), activate<kActivation>(sum[3] + low.y));
    fresh[2] = pack_bf16(activate<kActivation>(sum[4] + high.x), activate<kActivation>(sum[5] + high.y));
    fresh[3] = pack_bf16(activate<kActivation>(sum[6] + high.x), activate<kActivation>(sum[7] + high.y));
    if (!live0) fresh[0] = fresh[2] = 0;
    if (!live1) fresh[1] = fresh[3] = 0;
    if (sparse) {
      uint32_t cached[4];
      load_transposed(cached, panel + block * 2048);
#pragma unroll
      for (int i = 0; i < 4; ++i) differences[block * 4 + i] = subtract(fresh[i], cached[i]);
      if (!live0) differences[block * 4] = differences[block * 4 + 2] = 0;
      if (!live1) differences[block * 4 + 1] = differences[block * 4 + 3] = 0;
    }
    store_transposed(panel + block * 2048, fresh[0], fresh[1], fresh[2], fresh[3]);
  }
}

template <int N>
__global__ void __launch_bounds__(kThreads, 1)
fc1_kernel(const __grid_constant__ CUtensorMap x_map, const __grid_constant__ CUtensorMap w1_map,
                   const __grid_constant__ Arguments a) {
  using Layout = Shared<N>;
  constexpr int kStages = Layout::kStages;
  extern __shared__ char unaligned[];
  const uint32_t skip = (1024 - shared_address(unaligned) % 1024) % 1024;
  char* shared = unaligned + skip;
  const uint32_t stages = shared_address(shared);
  const uint32_t staging = stages + Layout::kStaging;
  // Of this tile and the next, in turn.
  float* biases = reinterpret_cast<float*>(shared + Layout::kBias);
  int* neurons = reinterpret_cast<int*>(shared + Layout::kNeurons);  // -1: past the end of the list
  uint64_t* full = reinterpret_cast<uint64_t*>(shared + Layout::kBarriers);
  uint64_t* empty = full + kStages;
  uint64_t* cached_full = empty + kStages;  // staging, biases and neurons hold the tile's
  uint64_t* cached_empty = cached_full + 1;
  const bool sparse = a.lists.mask.counts != nullptr;

  if (threadIdx.x == 0) {
    prefetch_map(&x_map);
    if (!sparse) prefetch_map(&w1_map);
    for (int i = 0; i < kStages; ++i) {
      barrier_init(full + i, sparse ? kProducers + 1 : 1);
      barrier_init(empty + i, kConsumerWarps);
    }
    barrier_init(cached_full, 2 * kProducers);
    barrier_init(cached_empty, kConsumerWarps);
    barrier_init_fence();
  }
  __syncthreads();

  TileOrder order(a.lists);
  const auto tiles = [](int count) { return (count + N - 1) / N; };
  Tile tile;
  Ring<kStages> ring;
  uint32_t cached_phase = 0;

  if (threadIdx.x < kProducers) {
    give_registers<72>();
    const int thread = threadIdx.x;
    const int row0 = thread / 8;  // of a pass of 16 rows
    const uint32_t to = kTokenBytes + row0 * 128 + ((thread % 8 ^ row0 % 8) << 4);
    // The list of a tile is read while the tile before is multiplied, in three parts, as each waits for the last: a
    // thread sees to the places that differ by the number of producers.
    constexpr int kPlaces = (N + kProducers - 1) / kProducers;
    Tile next;
    bool more;
    int entries[kPlaces];
    __nv_bfloat16 bias[kPlaces];
    const auto read_list = [&](int at) {
      more = order.find(at, tiles, next);
      if (!more) return;
      const List list = a.lists.of(next.piece, next.every);
#pragma unroll
      for (int i = 0; i < kPlaces; ++i) {
        entries[i] = list[min(next.rank * N + i * kProducers + thread, next.count - 1)];
      }
    };
    const auto keep_neurons = [&](int slot) {
      if (!more) return;
#pragma unroll
      for (int i = 0; i < kPlaces; ++i) {
        const int row = i * kProducers + thread;
        const int neuron = a.lists.neuron(entries[i]);
        bias[i] = a.b1 != nullptr ? a.b1[neuron] : __nv_bfloat16(0.f);
        if (row < N) neurons[slot * N + row] = next.rank * N + row < next.count ? neuron : -1;
      }
    };
    const auto keep_biases = [&](int slot) {
      if (!more) return;
#pragma unroll
      for (int i = 0; i < kPlaces; ++i) {
        const int row = i * kProducers + thread;
        if (row < N) biases[slot * N + row] = __bfloat162float(bias[i]);
      }
    };
    int at = blockIdx.x;
    int slot = 0;
    read_list(at);
    keep_neurons(slot);
    keep_biases(slot);
    const int last = a.steps - 1;
    while (more) {
      tile = next;
      at += gridDim.x;
      named_barrier(1, kProducers);
      const int* listed = neurons + slot * N;
      const int token0 = tile.piece % a.groups * kGroup;
      const int batch = tile.piece / a.groups;
      uint32_t rows[N / 16];
      uint32_t live = 0;
#pragma unroll
      for (int pass = 0; pass < N / 16; ++pass) {
        const int neuron = listed[pass * 16 + row0];
        rows[pass] = neuron * a.w1_row16;
        live |= (neuron >= 0 ? 1u : 0u) << pass;
      }
      slot ^= 1;
      for (int step = 0; step <= last; ++step) {
        if (step == min(kStages, last)) {
          barrier_wait(cached_empty, cached_phase ^ 1);
          cached_phase ^= 1;
          if (sparse) {
            const int chunk = thread % 16;
            const char* from = reinterpret_cast<const char*>(a.activations) +
                               static_cast<int64_t>(tile.piece) * a.lists.hidden * (kGroup * 2) + chunk * 16;
            const uint32_t cached_to =
                staging + chunk / 8 * Layout::kPanelBytes + thread / 16 * 128 + ((chunk % 8 ^ thread / 16) << 4);
#pragma unroll 4
            for (int pass = 0; pass < N / 8; ++pass) {
              const int neuron = listed[pass * 8 + thread / 16];
              if (neuron >= 0) copy16(cached_to + pass * 1024, from + static_cast<int64_t>(neuron) * (kGroup * 2));
            }
          }
          barrier_arrive_after_copies(cached_full);
          barrier_arrive(cached_full);
        }
        if (step == min(kStages + 2, last)) read_list(at);
        if (step == min(kStages + 4, last)) keep_neurons(slot);
        if (step == min(kStages + 6, last)) keep_biases(slot);
        barrier_wait(empty + ring.stage, ring.phase ^ 1);
        const uint32_t stage = stages + ring.stage * Layout::kStageBytes;
        if (thread == 0) {
          barrier_expect(full + ring.stage, sparse ? kTokenBytes : Layout::kStageBytes);
          load_map_4d(stage, &x_map, full + ring.stage, 0, token0, step, batch);
          if (!sparse) load_map_4d(stage + kTokenBytes, &w1_map, full + ring.stage, 0, tile.rank * N, step, 0);
        }
        if (sparse) {
          const char* from = a.w1 + step * (kStep * 2) + thread % 8 * 16;
#pragma unroll
          for (int pass = 0; pass < N / 16; ++pass) {
            // Rows past the list keep what the stage held: their products are never looked at.
            if (live >> pass & 1) copy16(stage + to + pass * 2048, units_further(from, rows[pass]));
          }
          barrier_arrive_after_copies(full + ring.stage);
        }
        ring.next();
      }
    }
    return;
  }

  take_registers<216>();
  const int half = threadIdx.x / 128 - 1;  // which 64 tokens
  const int warp = threadIdx.x / 32 % 4;
  const int lane = threadIdx.x % 32;
  const uint32_t panel = staging + half * Layout::kPanelBytes;
  // Matrix lane / 8 of a transposing instruction: neurons +8 for 2 and 3, tokens +8 for 1 and 3.
  const uint32_t transposing = panel + (lane / 16 * 8 + lane % 8) * 128 +
                               ((warp * 2 + lane / 8 % 2 ^ lane % 8) << 4);
  const uint64_t tokens0 = swizzled_tile(stages + half * 8192, 16);
  const uint64_t weights0 = swizzled_tile(stages + kTokenBytes, 16);
  int slot = 0;
  for (int at = blockIdx.x; order.find(at, tiles, tile); at += gridDim.x) {
    float sums[N / 2];
#pragma unroll
    for (int i = 0; i < N / 2; ++i) sums[i] = 0;
    uint32_t previous = 0;
    for (int step = 0; step < a.steps; ++step) {
      barrier_wait(full + ring.stage, ring.phase);
      fence_async();
      const uint64_t tokens = advance(tokens0, ring.stage * Layout::kStageBytes);
      const uint64_t weights = advance(weights0, ring.stage * Layout::kStageBytes);
      hold(sums);
      wgmma_fence();
#pragma unroll
      for (int k = 0; k < kStep / 16; ++k) {
        Wgmma<N>::template ss<0, 0>(sums, advance(tokens, k * 32), advance(weights, k * 32));
      }
      wgmma_commit();
      hold(sums);
      wgmma_wait<1>();
      if (step > 0 && lane == 0) barrier_arrive(empty + previous);
      previous = ring.stage;
      ring.next();
    }
    wgmma_wait<0>();
    hold(sums);
    if (lane == 0) barrier_arrive(empty + previous);

    const int64_t token = tile.piece % a.groups * kGroup + half * 64 + warp * 16 + lane / 4;
    const bool live0 = token < a.tokens;
    const bool live1 = token + 8 < a.tokens;
    barrier_wait(cached_full, cached_phase);
    cached_phase ^= 1;
    const float* bias = biases + slot * N;
    const int* listed = neurons + slot * N;
    slot ^= 1;
    uint32_t differences[N / 4];
    switch (a.activation) {
      case TAMIAS_SILU:
        activate_tile<TAMIAS_SILU, N>(sums, differences, transposing, bias, live0, live1, sparse);
        break;
      case TAMIAS_GELU_TANH:
        activate_tile<TAMIAS_GELU_TANH, N>(sums, differences, transposing, bias, live0, live1, sparse);
        break;
      case TAMIAS_GELU_ERF:
        activate_tile<TAMIAS_GELU_ERF, N>(sums, differences, transposing, bias, live0, live1, sparse);
        break;
      case TAMIAS_QUICK_GELU:
        activate_tile<TAMIAS_QUICK_GELU, N>(sums, differences, transposing, bias, live0, live1, sparse);
        break;
      default:
        activate_tile<TAMIAS_IDENTITY, N>(sums, differences, transposing, bias, live0, live1, sparse);
    }
    // Out of the panel: 8 lanes a row of 64 tokens, 16 rows a pass.
    const int row0 = threadIdx.x % 128 / 8;
    const int chunk = lane % 8;
    const char* rows = shared + Layout::kStaging + half * Layout::kPanelBytes + row0 * 128 + ((chunk ^ row0 % 8) << 4);
    const int within = half * 64 + chunk * 8;
    named_barrier(2 + half, 128);
    __nv_bfloat16* slab = a.activations + static_cast<int64_t>(tile.piece) * a.lists.hidden * kGroup + within;
#pragma unroll
    for (int pass = 0; pass < N / 16; ++pass) {
      const int neuron = listed[pass * 16 + row0];
      const uint4 values = *reinterpret_cast<const uint4*>(rows + pass * 2048);
      if (neuron >= 0) *reinterpret_cast<uint4*>(slab + static_cast<int64_t>(neuron) * kGroup) = values;
    }
    if (sparse) {
      named_barrier(2 + half, 128);
#pragma unroll
      for (int block = 0; block < N / 16; ++block) {
        store_transposed(transposing + block * 2048, differences[block * 4], differences[block * 4 + 1],
                         differences[block * 4 + 2], differences[block * 4 + 3]);
      }
      named_barrier(2 + half, 128);
      __nv_bfloat16* delta =
          a.delta + (tile.piece * a.lists.mask.capacity + tile.rank * N + row0) * kGroup + within;
#pragma unroll
      for (int pass = 0; pass < N / 16; ++pass) {
        const uint4 values = *reinterpret_cast<const uint4*>(rows + pass * 2048);
        if (listed[pass * 16 + row0] >= 0) *reinterpret_cast<uint4*>(delta + pass * 16 * kGroup) = values;
      }
    }
    __syncwarp();
    if (lane == 0) barrier_arrive(cached_empty);
  }
}

template <int N>
cudaError_t launch_tiles(const Fc1& p, const Launch& launch) {
  using Layout = Shared<N>;
  static_assert(Layout::kBytes <= 232448);
  const int64_t groups = (p.tokens + p.group - 1) / p.group;
  CUtensorMap x_map{}, w1_map{};
  const uint64_t x_row = p.x_row * 2;
  cudaError_t error = encode_map<4>(
      &x_map, p.x, {kStep, uint64_t(p.tokens), uint64_t(p.d / kStep), uint64_t(p.batch)},
      {x_row, kStep * 2, p.batch > 1 ? uint64_t(p.x_batch * 2) : x_row}, {kStep, kGroup, 1, 1});
  if (error != cudaSuccess) return error;
  if (p.mask.counts == nullptr) {
    const uint64_t w1_row = p.w1_row * 2;
    error = encode_map<4>(&w1_map, p.w1, {kStep, uint64_t(p.hidden), uint64_t(p.d / kStep), 1},
                          {w1_row, kStep * 2, w1_row}, {kStep, N, 1, 1});
    if (error != cudaSuccess) return error;
  }
  const Arguments arguments{
      .lists = {p.mask, int32_t(p.batch * groups), int32_t(p.hidden)},
      .groups = groups,
      .tokens = p.tokens,
      .steps = int32_t(p.d / kStep),
      .w1 = reinterpret_cast<const char*>(p.w1),
      .w1_row16 = uint32_t(p.w1_row / 8),
      .b1 = p.b1,
      .activation = p.activation,
      .activations = p.activations,
      .delta = p.delta,
  };
  const auto kernel = fc1_kernel<N>;
  error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Layout::kBytes);
  if (error != cudaSuccess) return error;
  kernel<<<launch.multiprocessors, kThreads, Layout::kBytes, launch.stream>>>(x_map, w1_map, arguments);
  return cudaGetLastError();
}

}  // namespace fc1
}  // namespace sm90

bool fc1_sm90_fits(const Fc1& p) {
  const auto aligned = [](const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; };
  const int64_t pieces = p.batch * ((p.tokens + p.group - 1) / p.group);
  return p.group == sm90::kGroup && p.d > 0 && p.d % 64 == 0 && p.hidden % 64 == 0 && p.x_row > 0 &&
         p.x_row % 8 == 0 && p.w1_row > 0 && p.w1_row % 8 == 0 &&
         (p.batch == 1 || (p.x_batch > 0 && p.x_batch % 8 == 0)) && aligned(p.x) && aligned(p.w1) &&
         aligned(p.activations) && aligned(p.delta) && p.hidden * (p.w1_row / 8) <= UINT32_MAX &&
         sm90::tiles_can_be_counted(pieces, p.hidden);
}

size_t fc1_sm90_workspace(const Fc1&, int) { return 0; }

cudaError_t fc1_sm90(const Fc1& p, const Launch& launch) {
  using namespace sm90::fc1;
  const int64_t pieces = p.batch * ((p.tokens + p.group - 1) / p.group);
  if (pieces * p.hidden == 0) return cudaSuccess;
  // Where the copy engine brings W1, the fourth stage of the narrow tile is worth more than width (measured).
  if (p.mask.counts == nullptr) return launch_tiles<192>(p, launch);
  // The host does not know the counts; a list is mostly as long as its capacity.
  const int64_t neurons = std::min(p.mask.capacity, p.hidden);
  const int width = sm90::best_width({256, 224, 192}, pieces, neurons, launch.multiprocessors, 1);
  return width == 256   ? launch_tiles<256>(p, launch)
         : width == 224 ? launch_tiles<224>(p, launch)
                        : launch_tiles<192>(p, launch);
}

}  // namespace tamias
