// Splitting loops over a device's threads. For baseline files only: kernels are called from inside the loops.
#pragma once

#include <omp.h>

#include <cstdint>

#include "../runtime/run.h"

namespace tamias {

// Waking the other threads costs a few microseconds: a thread must have at least this much to do.
constexpr int64_t kElementsPerThread = 16 * 1024;

// Calls body(begin, end, thread) on consecutive ranges of [0, count). `elements` is the work of one item, in elements
// passed over. body must not throw.
template <class Body>
static inline void parallel_for(const Run& run, int64_t count, int64_t elements, const Body& body) {
  if (count <= 0) return;
  int64_t threads = run.threads;
  if (threads > count) threads = count;
  const int64_t useful = elements >= kElementsPerThread ? threads : count * elements / kElementsPerThread;
  if (threads > useful) threads = useful;
  if (threads <= 1) {
    body(int64_t{0}, count, 0);
    return;
  }
#pragma omp parallel num_threads(static_cast<int>(threads))
  {
    const int64_t thread = omp_get_thread_num();
    const int64_t team = omp_get_num_threads();
    const int64_t begin = count * thread / team;
    const int64_t end = count * (thread + 1) / team;
    if (begin < end) body(begin, end, static_cast<int>(thread));
  }
}

}  // namespace tamias
