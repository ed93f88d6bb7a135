// What both layers of the column-sparse MLP share on Hopper: how many neurons a group has, and which tile is next.
#pragma once

#include <cstdint>
#include <initializer_list>

#include "mlp_problem.h"

namespace tamias::sm90 {

constexpr int kGroup = 128;         // tokens that share a list, and rows of a tile
constexpr int kBlockOfGroups = 32;  // groups whose tiles are in flight together; one lane each

// One group's list.
struct List {
  const void* places;  // null: every neuron, in order
  bool short_indices;

  __device__ __forceinline__ int operator[](int place) const {
    if (places == nullptr) return place;
    return short_indices ? __ldg(static_cast<const uint16_t*>(places) + place)
                         : __ldg(static_cast<const int32_t*>(places) + place);
  }
};

// The lists of all groups of all batches ("pieces"), read with care.
struct Lists {
  NeuronMask mask;
  int32_t pieces, hidden;

  // As it stands in the mask; -1: every neuron.
  __device__ __forceinline__ int count(int piece) const {
    if (mask.counts == nullptr) return -1;
    const int chosen = __ldg(mask.counts + piece);
    if (chosen >= 0 ? chosen <= mask.capacity : chosen == -1 && mask.capacity >= hidden) return chosen;
    *mask.failure = 1;
    return 0;
  }

  __device__ __forceinline__ List of(int piece, bool every) const {
    const char* places = static_cast<const char*>(mask.indices) + piece * mask.capacity * (mask.short_indices ? 2 : 4);
    return {every ? nullptr : places, mask.short_indices};
  }

  // The neuron that an entry of a list means. Apart from its read, which can so be under way for long.
  __device__ __forceinline__ int neuron(int entry) const {
    const int near = min(max(entry, 0), hidden - 1);
    if (entry != near) *mask.failure = 1;
    return near;
  }
};

struct Tile {
  int piece;   // group of all batches
  int rank;    // which of the group's tiles
  int count;   // neurons in the group's list
  bool every;  // the list is all neurons
};

// The order of tiles: block of groups by block, in a block all tiles of rank 0, then all of rank 1, ... so that thread
// blocks at work together read the same part of the weights (lists are sorted) and few groups' tokens. Only tiles that
// exist are counted, so a fixed stride over them is balanced. Every lane of a warp calls; all get the answer.
class TileOrder {
 public:
  __device__ __forceinline__ explicit TileOrder(const Lists& lists) : lists_(lists) {}

  // `tiles(count)`: how many tiles a group with so many neurons has. `at` must not be less than in the call before.
  template <class Tiles>
  __device__ __forceinline__ bool find(int at, const Tiles& tiles, Tile& tile) {
    const int lane = threadIdx.x % 32;
    while (at >= begin_ + total_) {
      begin_ += total_;
      block_ += kBlockOfGroups;
      if (block_ >= lists_.pieces) return false;
      count_ = block_ + lane < lists_.pieces ? lists_.count(block_ + lane) : 0;
      mine_ = tiles(count_ == -1 ? lists_.hidden : count_);
      total_ = __reduce_add_sync(~0u, mine_);
    }
    const int wanted = at - begin_;
    int low = 0;
    int high = __reduce_max_sync(~0u, mine_) - 1;
    while (low < high) {  // the largest rank with at most `wanted` tiles before it
      const int middle = (low + high + 1) / 2;
      if (__reduce_add_sync(~0u, min(mine_, middle)) <= wanted) {
        low = middle;
      } else {
        high = middle - 1;
      }
    }
    const int place = wanted - __reduce_add_sync(~0u, min(mine_, low));
    const bool live = mine_ > low;
    const uint32_t lanes = __ballot_sync(~0u, live);
    const bool chosen = live && __popc(lanes & ((1u << lane) - 1)) == place;
    const int owner = __ffs(__ballot_sync(~0u, chosen)) - 1;
    const int count = __shfl_sync(~0u, count_, owner);
    tile = {block_ + owner, low, count == -1 ? lists_.hidden : count, count == -1};
    return true;
  }

 private:
  const Lists& lists_;
  int block_ = -kBlockOfGroups;
  int count_ = 0;
  int mine_ = 0;
  int total_ = 0;
  int begin_ = 0;
};

// `from` + a * b in one instruction. The compiler's own way reads the pointer from constant memory for each copy.
__device__ __forceinline__ const char* further(const char* from, uint32_t a, uint32_t b) {
  const char* address;
  asm("mad.wide.u32 %0, %1, %2, %3;" : "=l"(address) : "r"(a), "r"(b), "l"(from));
  return address;
}

__device__ __forceinline__ const char* in_register(const char* pointer) {
  asm volatile("" : "+l"(pointer));
  return pointer;
}

// Place in a ring of stages in shared memory.
template <int kStages>
struct Ring {
  uint32_t stage = 0;
  uint32_t phase = 0;

  __device__ __forceinline__ void next() {
    if (++stage == kStages) {
      stage = 0;
      phase ^= 1;
    }
  }
};

// The width of tile with which all rounds of tiles take least time. `columns`: of a group. `together`: thread blocks
// that work on neighbouring tiles and share what a tile needs besides its columns, 128 columns' worth of bytes.
inline int best_width(std::initializer_list<int> widths, int64_t pieces, int64_t columns, int64_t multiprocessors,
                      int together) {
  int best = 0;
  int64_t least = INT64_MAX;
  for (const int width : widths) {
    const int64_t unit = width * together;
    const int64_t units = pieces * ((columns + unit - 1) / unit);
    const int64_t at_once = multiprocessors / together;
    const int64_t time = (units + at_once - 1) / at_once * (width + 128 / together);
    if (time >= least) continue;
    least = time;
    best = width;
  }
  return best;
}

inline bool tiles_can_be_counted(int64_t pieces, int64_t columns) {
  return pieces * (columns / 64 + 1) <= INT32_MAX - kBlockOfGroups;
}

}  // namespace tamias::sm90
