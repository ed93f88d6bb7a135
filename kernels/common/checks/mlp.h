// Both layers of the MLP, dense or over the chosen neurons. Slabs are [batch, groups, places, group].
#pragma once

#include <optional>

#include "column_mask.h"

namespace tamias {

// x, activations and delta are of one dtype.
struct Fc1Arguments {
  View x, w1;
  View b1;  // optional
  int32_t activation;
  View activations;
  View means;                      // optional, dense only
  std::optional<ColumnMask> mask;  // none: dense
  View delta;                      // with a mask
  int64_t batch = 0, tokens = 0, d = 0, hidden = 0, groups = 0, group = 0;

  static Fc1Arguments dense(const Op& op, const tamias_tensor* x, const tamias_tensor* w1,
                                   const tamias_tensor* b1, int32_t activation, const tamias_tensor* activations,
                                   const tamias_tensor* means);
  static Fc1Arguments chosen(const Op& op, const tamias_tensor* x, const tamias_tensor* w1,
                                    const tamias_tensor* b1, int32_t activation, const tamias_tensor* indices,
                                    const tamias_tensor* counts, const tamias_tensor* activations,
                                    const tamias_tensor* delta);

 private:
  Fc1Arguments(const Op& op, const tamias_tensor* x, const tamias_tensor* w1, const tamias_tensor* b1,
                      int32_t activation, const tamias_tensor* activations);
};

struct Fc2Arguments {
  View slabs;  // activations, or delta with a mask
  View w2t;
  View b2;                         // optional, dense only
  std::optional<ColumnMask> mask;  // none: dense
  View out;                        // added to with a mask: F32 then
  int64_t batch = 0, tokens = 0, n = 0, hidden = 0, groups = 0, group = 0;

  static Fc2Arguments dense(const Op& op, const tamias_tensor* activations, const tamias_tensor* w2t,
                                    const tamias_tensor* b2, const tamias_tensor* out);
  static Fc2Arguments chosen(const Op& op, const tamias_tensor* delta, const tamias_tensor* indices,
                                     const tamias_tensor* counts, const tamias_tensor* w2t, const tamias_tensor* out);

 private:
  Fc2Arguments(const Op& op, const View& slabs, const tamias_tensor* w2t, const tamias_tensor* b2,
                       const tamias_tensor* out, Types out_types);
};

// What a backend does with them.
void submit_fc1(Op& op, const Fc1Arguments& layer);
void submit_fc2(Op& op, const Fc2Arguments& layer);

}  // namespace tamias
