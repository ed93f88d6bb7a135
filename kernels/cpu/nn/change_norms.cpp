// Sums are taken of pieces that depend on the shape alone, and added in their order: the number of threads changes
// nothing.
#include <algorithm>

#include "../common/convert.h"
#include "../common/parallel.h"
#include "common/checks/change_norms.h"
#include "common/loops.h"
#include "kernels.h"

using namespace tamias;

namespace {

constexpr int64_t kPiece = 4096;  // elements of a line
constexpr int64_t kMostShares = 256;

struct Sums {
  double change = 0;
  double size = 0;
};

// Part of a line as F32: where it lies, or in `buffer`.
const float* as_f32(const View& view, int64_t offset, int64_t step, int64_t count, float* buffer) {
  const size_t size = dtype_size(view.dtype);
  const char* line = view.data + offset * static_cast<int64_t>(size);
  if (view.dtype == TAMIAS_F32) {
    if (step == 1) return reinterpret_cast<const float*>(line);
    pack_line(line, step, count, size, reinterpret_cast<char*>(buffer));
    return buffer;
  }
  alignas(64) char raw[kPiece * sizeof(uint16_t)];
  pack_line(line, step, count, size, raw);
  convert_to_f32(view.dtype, raw, count, buffer);
  return buffer;
}

class Change {
 public:
  explicit Change(const ChangeNormsArguments& arguments)
      : now_(arguments.now),
        before_(arguments.before),
        nest_({now_, before_ ? before_ : now_}),
        line_pieces_((nest_.length + kPiece - 1) / kPiece) {}

  int64_t pieces() const { return nest_.lines * line_pieces_; }
  int64_t shares() const { return std::min(pieces(), kMostShares); }

  Sums sum_share(const NormKernels& kernels, int64_t share) const {
    Sums sums;
    const int64_t begin = pieces() * share / shares();
    const int64_t end = pieces() * (share + 1) / shares();
    auto place = nest_.at(begin / line_pieces_);
    for (int64_t piece = begin; piece < end; ++piece) {
      const int64_t first = piece % line_pieces_ * kPiece;
      if (first == 0 && piece > begin) nest_.advance(place);
      add_piece(kernels, place.offset, first, std::min(kPiece, nest_.length - first), sums);
    }
    return sums;
  }

 private:
  void add_piece(const NormKernels& kernels, const int64_t (&offset)[2], int64_t first, int64_t count,
                 Sums& sums) const {
    alignas(64) float buffers[2][kPiece];
    const float* now = as_f32(now_, offset[0] + first * nest_.step[0], nest_.step[0], count, buffers[0]);
    if (!before_) {
      sums.change += kernels.sum_of_magnitudes(now, count);
      return;
    }
    const float* before = as_f32(before_, offset[1] + first * nest_.step[1], nest_.step[1], count, buffers[1]);
    sums.change += kernels.sum_of_distances(now, before, count);
    sums.size += kernels.sum_of_magnitudes(before, count);
  }

  View now_, before_;
  LoopNest<2> nest_;
  int64_t line_pieces_;
};

}  // namespace

extern "C" int32_t tamias_change_norms(uint64_t stream, const tamias_tensor* now, const tamias_tensor* before,
                                       const tamias_tensor* out) {
  return run_op("change_norms", stream, [&](Op& op) {
    const ChangeNormsArguments arguments(op, now, before, out);
    Scratch scratch;
    const size_t partial = scratch.take(kMostShares * static_cast<int64_t>(sizeof(Sums)));
    op.workspace(scratch);
    op.submit([=](const Run& run) {
      Sums total;
      if (!arguments.now.empty()) {
        const auto& kernels = norms(run.isa);
        const Change change(arguments);
        const int64_t shares = change.shares();
        Sums* sums = Scratch::at<Sums>(run, partial);
        parallel_for(run, shares, arguments.now.elements() / shares, [&](int64_t begin, int64_t end, int) {
          for (int64_t share = begin; share < end; ++share) sums[share] = change.sum_share(kernels, share);
        });
        for (int64_t share = 0; share < shares; ++share) {
          total.change += sums[share].change;
          total.size += sums[share].size;
        }
      }
      const View& result = arguments.out;
      result.f32()[0] = static_cast<float>(total.change);
      result.f32()[result.step(0)] = static_cast<float>(total.size);
    });
  });
}
