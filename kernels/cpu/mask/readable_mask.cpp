#include "readable_mask.h"

namespace tamias {
namespace {

template <class Index>
int64_t first_out_of_range(const Index* list, int64_t count, int64_t columns) {
  uint32_t highest = 0;
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t index = static_cast<uint32_t>(list[i]);
    highest = highest < index ? index : highest;
  }
  if (highest < columns) return -1;
  for (int64_t i = 0; i < count; ++i) {
    if (static_cast<uint32_t>(list[i]) >= columns) return i;
  }
  return -1;
}

}  // namespace

void ReadableMask::check_contents(const char* function, bool all_needs_capacity) const {
  for (int64_t group = 0; group < size(); ++group) {
    const int64_t n = count(group);
    if (n < TAMIAS_ALL_COLUMNS || n > capacity) {
      refuse("%s: counts holds %lld for group %lld of [%lld, %lld, %lld], expected -1 to the capacity %lld", function,
             (long long)n, (long long)group, (long long)counts.size(0), (long long)lists, (long long)groups,
             (long long)capacity);
    }
    if (n == TAMIAS_ALL_COLUMNS) {
      if (all_needs_capacity && capacity < columns) {
        refuse("%s: counts asks for all %lld columns, but the capacity is %lld", function, (long long)columns,
               (long long)capacity);
      }
      continue;
    }
    const int64_t wrong = short_indices
                              ? first_out_of_range(static_cast<const uint16_t*>(list(group)), n, columns)
                              : first_out_of_range(static_cast<const int32_t*>(list(group)), n, columns);
    if (wrong < 0) continue;
    const long long index = short_indices ? static_cast<const uint16_t*>(list(group))[wrong]
                                          : static_cast<const int32_t*>(list(group))[wrong];
    refuse("%s: indices holds %lld at place %lld of group %lld, expected 0 to %lld", function, index, (long long)wrong,
           (long long)group, (long long)columns - 1);
  }
}

}  // namespace tamias
