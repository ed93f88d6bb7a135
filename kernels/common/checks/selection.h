// The ops that make masks, and those of the neuron scores.
#pragma once

#include "column_mask.h"

namespace tamias {

// What the three rules share.
struct SelectionArguments {
  View scores;        // [batch, lists, groups, columns]
  View always;        // optional, [columns]
  View dense_groups;  // optional, [groups]
  ColumnMask mask;

  SelectionArguments(const Op& op, const tamias_tensor* scores, const tamias_tensor* always,
                     const tamias_tensor* dense_groups, const tamias_tensor* indices, const tamias_tensor* counts);
};

// Each rule's own arguments, checked before the shared ones.
void check_top_k(int64_t k);
void check_mass(float mass, int64_t minimum, int64_t maximum);
void check_threshold(float z, int64_t maximum);

struct NeuronScoresArguments {
  View means_now, means_cached, column_norm, out;

  NeuronScoresArguments(const Op& op, const tamias_tensor* means_now, const tamias_tensor* means_cached,
                        const tamias_tensor* column_norm, const tamias_tensor* out);
};

struct UpdateChosenArguments {
  View now, cached;
  ColumnMask mask;

  UpdateChosenArguments(const Op& op, const tamias_tensor* now, const tamias_tensor* indices,
                        const tamias_tensor* counts, const tamias_tensor* cached);
};

}  // namespace tamias
