// Uneven pieces of work spread over threads: the longest first, each thread takes the next when it is done. Which thread
// does a piece, and how pieces are split, must not change what the piece computes.
#pragma once

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

#include "../runtime/run.h"

namespace tamias {

struct WorkItem {
  int64_t cost;
  int64_t index;  // of the caller's piece
  int32_t part;   // this is part `part` of `parts` of the piece
  int32_t parts;
};

class WorkPlan {
 public:
  static constexpr int32_t kMostParts = 4;
  // Below this many multiply-adds it is not worth waking another thread.
  static constexpr int64_t kLeastCost = 200'000;

  static constexpr int64_t bytes(int64_t pieces) {
    return pieces * kMostParts * static_cast<int64_t>(sizeof(WorkItem));
  }

  explicit WorkPlan(WorkItem* items) : items_(items) {}

  void add(int64_t index, int64_t cost) {
    items_[count_++] = {cost, index, 0, 1};
    total_ += cost;
  }

  // Splits the pieces that would leave a thread working alone at the end.
  void split(int threads, int32_t parts) {
    parts = std::min(parts, kMostParts);
    if (threads < 2 || parts < 2 || total_ < kLeastCost) return;
    sort();
    const int64_t pieces = count_;
    for (int64_t i = 0; i < pieces; ++i) {
      const bool last = i >= pieces - threads;
      const bool large = items_[i].cost > total_ / threads / 4;
      if (!last && !large) continue;
      items_[i].parts = parts;
      items_[i].cost /= parts;
      for (int32_t part = 1; part < parts; ++part) {
        items_[count_] = items_[i];
        items_[count_++].part = part;
      }
    }
  }

  // body(item, thread) must not throw.
  template <class Body>
  void run(const Run& run, const Body& body) {
    sort();
    const int threads = total_ < kLeastCost ? 1 : static_cast<int>(std::min<int64_t>(run.threads, count_));
    if (threads <= 1) {
      for (int64_t i = 0; i < count_; ++i) body(items_[i], 0);
      return;
    }
    std::atomic<int64_t> next{0};
#pragma omp parallel num_threads(threads)
    for (int64_t i = next++; i < count_; i = next++) body(items_[i], omp_get_thread_num());
  }

 private:
  void sort() {
    std::sort(items_, items_ + count_, [](const WorkItem& a, const WorkItem& b) {
      if (a.cost != b.cost) return a.cost > b.cost;
      return a.index != b.index ? a.index < b.index : a.part < b.part;
    });
  }

  WorkItem* items_;
  int64_t count_ = 0;
  int64_t total_ = 0;
};

// The range of `units` that belongs to a part.
inline int64_t part_begin(int64_t units, int32_t part, int32_t parts) { return units * part / parts; }

}  // namespace tamias
