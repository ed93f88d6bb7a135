// mask_pack, mask_unpack: a chosen column as the number of columns left out before it.
#include "common/checks/packed_mask.h"

#include <atomic>

#include "../common/parallel.h"
#include "readable_mask.h"

using namespace tamias;

namespace {

// False, and nothing is written from there on, where a column does not follow the one before or is out of range.
template <class Index>
bool pack_list(const Index* list, int64_t count, int64_t columns, uint8_t* to) {
  int64_t next = 0;  // the first column that may come
  for (int64_t i = 0; i < count; ++i) {
    const int64_t column = list[i];
    if (column < next || column >= columns) return false;
    int64_t gap = column - next;
    for (; gap >= kSkip; gap -= kSkip) *to++ = kSkip;
    *to++ = static_cast<uint8_t>(gap);
    next = column + 1;
  }
  return true;
}

// False where the codes end too early, or name a column that is out of range.
template <class Index>
bool unpack_list(const uint8_t* from, int64_t bytes, int64_t count, int64_t columns, Index* list) {
  const uint8_t* end = from + bytes;
  int64_t next = 0;
  for (int64_t i = 0; i < count; ++i) {
    while (from < end && *from == kSkip) {
      next += kSkip;
      ++from;
    }
    if (from == end) return false;
    next += *from++;
    if (next >= columns) return false;
    list[i] = static_cast<Index>(next++);
  }
  return true;
}

// Calls body(list, count) for the lists that are not every column; the function fails if it returns false for one.
template <class Body>
void for_each_list(const Run& run, const ReadableMask& mask, const char* function, const Body& body) {
  std::atomic<int64_t> wrong{-1};
  parallel_for(run, mask.size(), mask.capacity, [&](int64_t begin, int64_t end, int) {
    for (int64_t list = begin; list < end; ++list) {
      const int64_t count = mask.count(list);
      if (count == TAMIAS_ALL_COLUMNS) continue;
      if (count < 0 || count > mask.capacity || !body(list, count)) wrong = list;
    }
  });
  if (wrong < 0) return;
  refuse("%s: group %lld of [%lld, %lld, %lld] has a count or columns that are out of range or not ascending", function,
         (long long)wrong.load(), (long long)mask.counts.size(0), (long long)mask.lists, (long long)mask.groups);
}

}  // namespace

extern "C" int32_t tamias_mask_pack(uint64_t stream, const tamias_tensor* indices, const tamias_tensor* counts,
                                    int64_t columns, const tamias_tensor* packed) {
  return run_op("mask_pack", stream, [&](Op& op) {
    const PackedMask arguments = PackedMask::pack(op, indices, counts, columns, packed);
    op.submit([=, mask = ReadableMask(arguments.mask)](const Run& run) {
      for_each_list(run, mask, "mask_pack", [&](int64_t list, int64_t count) {
        uint8_t* to = arguments.packed.as<uint8_t>() + list * arguments.bytes;
        return mask.short_indices
                   ? pack_list(static_cast<const uint16_t*>(mask.list(list)), count, mask.columns, to)
                   : pack_list(static_cast<const int32_t*>(mask.list(list)), count, mask.columns, to);
      });
    });
  });
}

extern "C" int32_t tamias_mask_unpack(uint64_t stream, const tamias_tensor* packed, const tamias_tensor* counts,
                                      const tamias_tensor* indices) {
  return run_op("mask_unpack", stream, [&](Op& op) {
    const PackedMask arguments = PackedMask::unpack(op, packed, counts, indices);
    op.submit([=, mask = ReadableMask(arguments.mask)](const Run& run) {
      for_each_list(run, mask, "mask_unpack", [&](int64_t list, int64_t count) {
        const uint8_t* from = arguments.packed.as<const uint8_t>() + list * arguments.bytes;
        const View& out = mask.indices;
        return mask.short_indices ? unpack_list(from, arguments.bytes, count, mask.columns,
                                                out.as<uint16_t>() + list * mask.capacity)
                                  : unpack_list(from, arguments.bytes, count, mask.columns,
                                                out.as<int32_t>() + list * mask.capacity);
      });
    });
  });
}
