// A pair of thread blocks that work in step on neighbouring tiles of one group, so that what both need is read once
// from the L2 cache and written to both.
#pragma once

#include "../common/ptx_sm90.cuh"

namespace tamias::sm90 {

__device__ __forceinline__ uint32_t cluster_rank() {
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

__device__ __forceinline__ void cluster_barrier() {
  asm volatile("barrier.cluster.arrive;\nbarrier.cluster.wait;" ::: "memory");
}

// Arrives at the same barrier of thread block `rank` of the cluster.
__device__ __forceinline__ void barrier_arrive_at(uint64_t* barrier, uint32_t rank) {
  asm volatile(
      "{\n.reg .b32 remote;\n"
      "mapa.shared::cluster.u32 remote, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [remote];\n}\n" ::"r"(shared_address(barrier)),
      "r"(rank)
      : "memory");
}

// Lands at the same address, and counts at the same barrier, in every thread block of `ranks` (a bit each).
__device__ __forceinline__ void multicast_map_4d(uint32_t to, const CUtensorMap* map, uint64_t* barrier, uint16_t ranks,
                                                 int c0, int c1, int c2, int c3) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster "
      "[%0], [%1, {%4, %5, %6, %7}], [%2], %3;" ::"r"(to), "l"(map), "r"(shared_address(barrier)), "h"(ranks), "r"(c0),
      "r"(c1), "r"(c2), "r"(c3)
      : "memory");
}

}  // namespace tamias::sm90
