#pragma once

#include "common/loops.h"
#include "../common/parallel.h"

namespace tamias {

// Calls line(offsets, first, count) for pieces of the lines of the nest, on all threads.
template <int Count, class Line>
static inline void for_each_line(const Run& run, const LoopNest<Count>& nest, const Line& line) {
  if (nest.lines == 1) {
    const int64_t offset[Count] = {};
    parallel_for(run, nest.length, 1, [&](int64_t begin, int64_t end, int) { line(offset, begin, end - begin); });
    return;
  }
  parallel_for(run, nest.lines, nest.length, [&](int64_t begin, int64_t end, int) {
    auto place = nest.at(begin);
    for (int64_t index = begin; index < end; ++index, nest.advance(place)) {
      line(place.offset, int64_t{0}, nest.length);
    }
  });
}

}  // namespace tamias
