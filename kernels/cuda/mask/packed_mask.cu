// mask_pack, mask_unpack: a chosen column as the number of columns left out before it. A warp has a list.
#include "common/checks/packed_mask.h"
#include "runtime/check.h"
#include "runtime/fault.h"

using namespace tamias;

namespace {

constexpr int kWarps = 8;  // of a block
constexpr int kThreads = kWarps * 32;
constexpr int kLoads = 4;  // under way at a time
constexpr uint32_t kAllLanes = 0xffffffff;

struct Lists {
  void* indices;  // [lists, capacity]
  const int32_t* counts;
  uint8_t* packed;  // [lists, bytes]
  int64_t lists, capacity, bytes, columns;
};

// The warp's list, and what to do of it: a count of 0 means nothing.
struct OwnList {
  int64_t number;
  int64_t count = 0;

  __device__ OwnList(const Lists& lists, uint32_t* failure)
      : number(int64_t{blockIdx.x} * kWarps + threadIdx.x / 32) {
    if (number >= lists.lists) return;
    const int32_t chosen = lists.counts[number];
    if (chosen >= 0 && chosen <= lists.capacity) {
      count = chosen;
    } else if (chosen != TAMIAS_ALL_COLUMNS) {
      *failure = kWrongMask;
    }
  }
};

// Of the lanes up to and with this one.
__device__ uint32_t sum_so_far(uint32_t value) {
  const uint32_t lane = threadIdx.x % 32;
#pragma unroll
  for (uint32_t distance = 1; distance < 32; distance *= 2) {
    const uint32_t other = __shfl_up_sync(kAllLanes, value, distance);
    if (lane >= distance) value += other;
  }
  return value;
}

// Where a column does not follow the one before or is out of range, the rest of the list is not written: what is
// written is the codes of a right list, which fit.
template <class Index>
__global__ __launch_bounds__(kThreads) void pack_lists(const Lists lists, uint32_t* failure) {
  const OwnList own(lists, failure);
  const int lane = threadIdx.x % 32;
  const Index* from = static_cast<const Index*>(lists.indices) + own.number * lists.capacity;
  uint8_t* to = lists.packed + own.number * lists.bytes;
  int32_t before = -1;
  for (int64_t first = 0; first < own.count; first += kLoads * 32) {
    int32_t column[kLoads];
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      const int64_t place = first + i * 32 + lane;
      column[i] = place < own.count ? static_cast<int32_t>(from[place]) : 0;
    }
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      const bool exists = first + i * 32 + lane < own.count;
      const int32_t neighbour = __shfl_up_sync(kAllLanes, column[i], 1);
      const int32_t last = lane == 0 ? before : neighbour;
      if (__any_sync(kAllLanes, exists && (column[i] <= last || column[i] >= lists.columns))) {
        *failure = kWrongMask;
        return;
      }
      const uint32_t gap = exists ? static_cast<uint32_t>(column[i] - last - 1) : 0;
      const uint32_t skips = gap / kSkip;
      uint32_t skipped = 0;
      if (__any_sync(kAllLanes, skips > 0)) skipped = sum_so_far(skips);
      uint8_t* code = to + lane + skipped;
      for (uint32_t skip = 1; skip <= skips; ++skip) code[-static_cast<int64_t>(skip)] = kSkip;
      if (exists) *code = static_cast<uint8_t>(gap - skips * kSkip);
      to += 32 + __shfl_sync(kAllLanes, skipped, 31);
      before = __shfl_sync(kAllLanes, column[i], 31);
    }
  }
}

template <class Index>
__global__ __launch_bounds__(kThreads) void unpack_lists(const Lists lists, uint32_t* failure) {
  const OwnList own(lists, failure);
  const int lane = threadIdx.x % 32;
  const uint8_t* from = lists.packed + own.number * lists.bytes;
  Index* to = static_cast<Index*>(lists.indices) + own.number * lists.capacity;
  int64_t last = -1;  // column
  int64_t found = 0;
  for (int64_t first = 0; found < own.count; first += kLoads * 32) {
    bool wrong = first >= lists.bytes;
    uint32_t code[kLoads];
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      const int64_t place = first + i * 32 + lane;
      code[i] = place < lists.bytes ? from[place] : kSkip;
    }
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      const bool chosen = code[i] != kSkip;
      const uint32_t steps = sum_so_far(chosen ? code[i] + 1 : kSkip);
      const uint32_t choosing = __ballot_sync(kAllLanes, chosen);
      const int64_t place = found + __popc(choosing & ((1u << lane) - 1));
      const int64_t column = last + steps;
      if (chosen && place < own.count) {
        if (column < lists.columns) {
          to[place] = static_cast<Index>(column);
        } else {
          wrong = true;
        }
      }
      last += __shfl_sync(kAllLanes, steps, 31);
      found += __popc(choosing);
    }
    if (__any_sync(kAllLanes, wrong)) {
      *failure = kWrongMask;
      return;
    }
  }
}

using Kernel = void (*)(Lists, uint32_t*);

void submit(const Op& op, const PackedMask& arguments, Kernel kernel) {
  const ColumnMask& mask = arguments.mask;
  const Lists lists = {mask.indices.data, mask.counts.as<int32_t>(), arguments.packed.as<uint8_t>(), mask.size(),
                       mask.capacity,     arguments.bytes,           mask.columns};
  const int64_t blocks = (lists.lists + kWarps - 1) / kWarps;
  if (blocks > INT32_MAX) refuse("counts has %lld groups, more than a grid", (long long)lists.lists);
  if (blocks == 0) return;
  op.submit([=](const Run& run) {
    kernel<<<static_cast<unsigned>(blocks), kThreads, 0, run.stream>>>(lists, run.failure);
  });
}

}  // namespace

extern "C" int32_t tamias_mask_pack(uint64_t stream, const tamias_tensor* indices, const tamias_tensor* counts,
                                    int64_t columns, const tamias_tensor* packed) {
  return run_op("mask_pack", stream, [&](Op& op) {
    const PackedMask arguments = PackedMask::pack(op, indices, counts, columns, packed);
    submit(op, arguments, arguments.mask.short_indices ? pack_lists<uint16_t> : pack_lists<int32_t>);
  });
}

extern "C" int32_t tamias_mask_unpack(uint64_t stream, const tamias_tensor* packed, const tamias_tensor* counts,
                                      const tamias_tensor* indices) {
  return run_op("mask_unpack", stream, [&](Op& op) {
    const PackedMask arguments = PackedMask::unpack(op, packed, counts, indices);
    submit(op, arguments, arguments.mask.short_indices ? unpack_lists<uint16_t> : unpack_lists<int32_t>);
  });
}
