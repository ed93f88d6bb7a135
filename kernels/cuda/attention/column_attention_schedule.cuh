// What the column attention kernel works through: items of up to 64 * warpgroups queries that share a list of keys,
// in the order in which multiprocessors take them.
//
// Long items (dense text groups) come first, then the heads in order, so that the keys and values in use fit the L2
// cache, and within those the longest first. An item longer than a multiprocessor's share of all the work is cut into
// chunks of keys; their partial results are merged by whichever chunk ends last.
#pragma once

#include <cstdint>

namespace tamias::column_attention {

struct alignas(16) ColumnItem {
  int32_t list;  // of the mask; -1: all keys in order
  int32_t batch, head;
  int32_t first_row, first_key, keys;
  uint16_t rows;
  uint16_t chunks, chunk;  // chunks 0: no more items
  uint16_t slot;  // of the item's first partial result; its chunks' slots follow each other
};
static_assert(sizeof(ColumnItem) == 32);

struct ColumnSchedule {
  const int32_t* counts;
  int64_t capacity;
  int32_t lists, heads, groups;
  int32_t group, queries, keys;
  int32_t rows, tile;          // an item's most queries; keys of a tile
  int32_t heads_at_once;       // heads whose keys and values fit the L2 cache
  int32_t grid, slots;
  uint32_t* failure;
  // Outputs.
  uint32_t* next;      // the first item that no block has yet
  uint32_t* finished;  // [slots][4]: chunks that are done, per warpgroup, counted at the item's first slot
  ColumnItem* items;
};

constexpr int kScheduleThreads = 512;
constexpr int kLengthBins = 1024;

struct ListWork {
  int32_t keys, tiles, parts, chunks, kind;  // kind: -1 long, else which heads
};

__device__ inline int64_t block_sum(int64_t value, int64_t* shared) {
  for (int step = 16; step > 0; step /= 2) value += __shfl_xor_sync(~0u, value, step);
  __syncthreads();
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  int64_t sum = 0;
  for (int warp = 0; warp < kScheduleThreads / 32; ++warp) sum += shared[warp];
  return sum;
}

// Block 0 places the long items, block 1 + i the rest of the i-th set of heads.
__global__ void __launch_bounds__(kScheduleThreads) schedule_columns(const ColumnSchedule p) {
  asm volatile("griddepcontrol.launch_dependents;");
  __shared__ uint32_t bins[kLengthBins];
  __shared__ int64_t sums[kScheduleThreads / 32];
  __shared__ uint32_t slots_taken;
  const int thread = threadIdx.x;
  const int kind = static_cast<int>(blockIdx.x) - 1;

  const auto basic_work = [&](int list) {
    ListWork work;
    int32_t count = p.counts[list];
    if (count < -1 || count > p.capacity || count > p.keys) {
      *p.failure = 1;
      count = 0;
    }
    work.keys = count < 0 ? p.keys : count;
    work.tiles = (work.keys + p.tile - 1) / p.tile;
    const int head = list / p.groups;
    const int first = (list - head * p.groups) * p.group;
    work.parts = (min(p.queries - first, p.group) + p.rows - 1) / p.rows;
    work.chunks = 1;
    work.kind = head / p.heads_at_once;
    return work;
  };

  int64_t tiles = 0, parts = 0;
  for (int list = thread; list < p.lists; list += kScheduleThreads) {
    const ListWork work = basic_work(list);
    tiles += static_cast<int64_t>(work.tiles) * work.parts;
    parts += work.parts;
  }
  tiles = block_sum(tiles, sums);
  parts = block_sum(parts, sums);
  // In tiles: a multiprocessor's share, the chunks that longer items are cut into, and where items count as long.
  const float share = static_cast<float>(tiles) / p.grid;
  const float chunk = fmaxf(share * 0.75f, 8);
  const float longest_usual = 2 * static_cast<float>(tiles) / parts + 1;
  const auto work_of = [&](int list) {
    ListWork work = basic_work(list);
    const bool split = work.tiles > share && work.tiles > chunk;
    if (work.tiles > longest_usual || split) {
      work.kind = -1;
      if (split) work.chunks = static_cast<int32_t>(ceilf(work.tiles / chunk));
    }
    return work;
  };
  int shift = 0;
  while ((p.keys / p.tile >> shift) + 1 >= kLengthBins) ++shift;
  const auto bin_of = [&](const ListWork& work) { return kLengthBins - 1 - (work.tiles / work.chunks >> shift); };

  for (int bin = thread; bin < kLengthBins; bin += kScheduleThreads) bins[bin] = 0;
  if (thread == 0) slots_taken = 0;
  __syncthreads();
  int64_t before = 0, all = 0;
  for (int list = thread; list < p.lists; list += kScheduleThreads) {
    const ListWork work = work_of(list);
    const int items = work.parts * work.chunks;
    all += items;
    if (work.kind < kind) before += items;
    if (work.kind == kind) atomicAdd(&bins[bin_of(work)], items);
  }
  before = block_sum(before, sums);
  all = block_sum(all, sums);

  // Exclusive sums over the bins, two neighbours a thread.
  static_assert(kLengthBins == 2 * kScheduleThreads);
  const uint32_t left = bins[2 * thread], right = bins[2 * thread + 1];
  uint32_t sum = left + right;
  for (int step = 1; step < 32; step *= 2) {
    const uint32_t other = __shfl_up_sync(~0u, sum, step);
    if (thread % 32 >= step) sum += other;
  }
  __syncthreads();
  if (thread % 32 == 31) sums[thread / 32] = sum;
  __syncthreads();
  for (int warp = 0; warp < thread / 32; ++warp) sum += static_cast<uint32_t>(sums[warp]);
  bins[2 * thread] = sum - right - left;
  bins[2 * thread + 1] = sum - right;
  __syncthreads();

  for (int list = thread; list < p.lists; list += kScheduleThreads) {
    const ListWork work = work_of(list);
    if (work.kind != kind) continue;
    const uint32_t slot = work.chunks > 1 ? atomicAdd(&slots_taken, work.parts * work.chunks) : 0;
    ColumnItem* item = p.items + before + atomicAdd(&bins[bin_of(work)], work.parts * work.chunks);
    const int head = list / p.groups;
    const int first = (list - head * p.groups) * p.group;
    const int end = first + min(p.queries - first, p.group);
    const int chunk_tiles = (work.tiles + work.chunks - 1) / work.chunks;
    for (int part = 0; part < work.parts; ++part) {
      for (int piece = 0; piece < work.chunks; ++piece, ++item) {
        const int row = first + part * p.rows;
        const int first_key = min(piece * chunk_tiles * p.tile, work.keys);
        ColumnItem it;
        it.list = p.counts[list] < 0 ? -1 : list;
        it.batch = head / p.heads;
        it.head = head % p.heads;
        it.first_row = row;
        it.first_key = first_key;
        it.keys = min(work.keys - first_key, chunk_tiles * p.tile);
        it.rows = static_cast<uint16_t>(min(end - row, p.rows));
        it.chunks = static_cast<uint16_t>(work.chunks);
        it.chunk = static_cast<uint16_t>(piece);
        it.slot = static_cast<uint16_t>(slot + part * work.chunks);
        *item = it;
      }
    }
  }

  if (kind < 0) {
    if (thread == 0) *p.next = p.grid;
    for (int i = thread; i < p.slots * 4; i += kScheduleThreads) p.finished[i] = 0;
    for (int i = thread; i < p.grid; i += kScheduleThreads) p.items[all + i] = ColumnItem{};
  }
}

}  // namespace tamias::column_attention
