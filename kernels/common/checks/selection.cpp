#include "selection.h"

#include <cmath>

namespace tamias {
namespace {

View scores_argument(const Op& op, const tamias_tensor* tensor) {
  const View scores = op.input("scores", tensor, kF32, 4, 4);
  op.rows(scores);
  return scores;
}

View row_argument(const Op& op, const char* name, const tamias_tensor* tensor, int64_t length) {
  const View row = op.optional_input(name, tensor, kU8, 1, 1);
  op.shape(row, {length});
  return row;
}

View rows_like(const Op& op, const View& view, const View& like) {
  op.same_shape(view, like);
  op.rows(like);
  op.rows(view);
  return view;
}

void check_count(const char* name, int64_t count) {
  if (count < 0) refuse("%s is %lld, expected 0 or more", name, (long long)count);
}

}  // namespace

SelectionArguments::SelectionArguments(const Op& op, const tamias_tensor* scores_tensor,
                                       const tamias_tensor* always_tensor, const tamias_tensor* dense_tensor,
                                       const tamias_tensor* indices, const tamias_tensor* counts)
    : scores(scores_argument(op, scores_tensor)),
      always(row_argument(op, "always", always_tensor, scores.size(3))),
      dense_groups(row_argument(op, "dense_groups", dense_tensor, scores.size(2))),
      mask(op, indices, counts, scores.size(0), scores.size(1), scores.size(2), scores.size(3), true) {
  op.apart(mask.indices, {scores, always, dense_groups, mask.counts});
  op.apart(mask.counts, {scores, always, dense_groups});
}

void check_top_k(int64_t k) { check_count("k", k); }

void check_mass(float mass, int64_t minimum, int64_t maximum) {
  if (!(mass >= 0 && mass <= 1)) refuse("mass is %g, expected 0 to 1", mass);
  check_count("minimum", minimum);
  check_count("maximum", maximum);
  if (minimum > maximum) {
    refuse("minimum is %lld, above maximum, which is %lld", (long long)minimum, (long long)maximum);
  }
}

void check_threshold(float z, int64_t maximum) {
  if (!std::isfinite(z)) refuse("z is %g, expected a finite number", z);
  check_count("maximum", maximum);
}

NeuronScoresArguments::NeuronScoresArguments(const Op& op, const tamias_tensor* now_tensor,
                                             const tamias_tensor* cached_tensor, const tamias_tensor* norm_tensor,
                                             const tamias_tensor* out_tensor) {
  means_now = op.input("means_now", now_tensor, kF32, 3, 3);
  means_cached = op.input("means_cached", cached_tensor, kF32, 3, 3);
  column_norm = op.input("column_norm", norm_tensor, kF32, 1, 1);
  out = op.output("out", out_tensor, kF32, 3, 3);
  op.same_shape(means_cached, means_now);
  op.shape(column_norm, {means_now.size(2)});
  op.same_shape(out, means_now);
  for (const View& view : {means_now, means_cached, out}) op.rows(view);
  op.apart(out, {means_now, means_cached, column_norm});
}

UpdateChosenArguments::UpdateChosenArguments(const Op& op, const tamias_tensor* now_tensor,
                                             const tamias_tensor* indices, const tamias_tensor* counts,
                                             const tamias_tensor* cached_tensor)
    : now(op.input("now", now_tensor, kF32, 3, 3)),
      cached(rows_like(op, op.output("cached", cached_tensor, kF32, 3, 3), now)),
      mask(op, indices, counts, now.size(0), 1, now.size(1), now.size(2), false) {
  op.apart(cached, {now, mask.indices, mask.counts});
}

}  // namespace tamias
