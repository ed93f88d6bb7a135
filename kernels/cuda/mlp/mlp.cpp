// mlp_refresh_fc1, mlp_refresh_fc2, mlp_delta_fc1, mlp_delta_fc2.
#include "common/checks/mlp.h"
#include "common/dispatch.h"
#include "dense_second_layer.h"
#include "mlp_any.h"
#include "mlp_problem.h"
#include "runtime/check.h"

#include <functional>
#include <optional>
#include <vector>

using namespace tamias;

namespace {

Bias bias_of(const View& view) {
  if (!view) return {};
  return {view.data, view.dtype == TAMIAS_BF16, view.stride[0]};
}

// Strides of a single row mean nothing, and must not look like a misaligned row.
int64_t stride_of(const View& view, int axis) { return view.shape[axis] > 1 ? view.stride[axis] : 0; }

ColumnLists lists_of(const std::optional<ColumnMask>& mask) {
  ColumnLists lists;
  if (!mask) return lists;
  lists.indices = mask->indices.data;
  lists.short_indices = mask->short_indices;
  lists.capacity = mask->capacity;
  lists.counts = mask->counts.as<int32_t>();
  lists.all_needs_capacity = true;
  return lists;
}

NeuronMask neuron_mask(const ColumnLists& lists) {
  return {lists.indices, lists.short_indices, lists.capacity, lists.counts, lists.failure};
}

template <class T, class W>
FirstLayerAny<T, W> first_problem(const FirstLayerArguments& layer) {
  FirstLayerAny<T, W> problem = {};
  problem.shape = {layer.batch, layer.tokens, layer.hidden, layer.group, layer.d};
  problem.x = layer.x.as<T>();
  problem.x_batch = stride_of(layer.x, 0);
  problem.x_row = stride_of(layer.x, 1);
  problem.w1 = layer.w1.as<W>();
  problem.w1_row = stride_of(layer.w1, 0);
  problem.b1 = bias_of(layer.b1);
  problem.activation = layer.activation;
  problem.lists = lists_of(layer.mask);
  problem.activations = layer.activations.as<T>();
  problem.delta = layer.mask ? layer.delta.as<T>() : nullptr;
  return problem;
}

template <class T, class W>
SecondLayerAny<T, W> second_problem(const SecondLayerArguments& layer) {
  SecondLayerAny<T, W> problem = {};
  problem.shape = {layer.batch, layer.tokens, layer.hidden, layer.group, layer.n};
  problem.slabs = layer.slabs.as<T>();
  problem.lists = lists_of(layer.mask);
  problem.w2t = layer.w2t.as<W>();
  problem.w2t_row = stride_of(layer.w2t, 0);
  problem.b2 = bias_of(layer.b2);
  if (layer.out.dtype == TAMIAS_BF16) {
    problem.short_out = layer.out.as<__nv_bfloat16>();
  } else {
    problem.out = layer.out.f32();
  }
  problem.out_batch = stride_of(layer.out, 0);
  problem.out_row = stride_of(layer.out, 1);
  return problem;
}

using ShortFirstLayer = FirstLayerAny<__nv_bfloat16, __nv_bfloat16>;
using ShortSecondLayer = SecondLayerAny<__nv_bfloat16, __nv_bfloat16>;

// None where the bias is not as the kernel wants it.
std::optional<FirstLayer> first_problem_sm90(const ShortFirstLayer& problem) {
  const Bias& b1 = problem.b1;
  if (b1.data && (!b1.is_bf16 || b1.stride != 1)) return {};
  const MlpShape& shape = problem.shape;
  return FirstLayer{shape.batch,       shape.tokens,      shape.width,
                    shape.hidden,      shape.group,       problem.x,
                    problem.x_batch,   problem.x_row,     problem.w1,
                    problem.w1_row,    static_cast<const __nv_bfloat16*>(b1.data),
                    problem.activation, neuron_mask(problem.lists), problem.activations,
                    problem.delta};
}

SecondLayer second_problem_sm90(const ShortSecondLayer& problem) {
  const MlpShape& shape = problem.shape;
  return {shape.batch,     shape.tokens,        shape.width,       shape.hidden,
          shape.group,     problem.slabs,       neuron_mask(problem.lists), problem.w2t,
          problem.w2t_row, problem.out,         problem.out_batch, problem.out_row};
}

// What one layer needs of the device, decided before it is submitted.
struct Work {
  size_t scratch = 0;
  std::function<void(const Run& run, char* scratch)> run;
};

template <class T, class W>
Work first_layer_work(const Op& op, const FirstLayerAny<T, W>& problem) {
  if constexpr (is_bf16<T> && is_bf16<W>) {
    if (const auto own = first_problem_sm90(problem); has_wgmma(op) && own && first_layer_sm90_fits(*own)) {
      return {first_layer_sm90_workspace(*own, op.device().multiprocessors()), [own](const Run& run, char* scratch) {
                FirstLayer layer = *own;
                layer.mask.failure = run.failure;
                check_cuda(first_layer_sm90(layer, {run.stream, run.multiprocessors, scratch}), "the first layer");
              }};
    }
  }
  return {0, [problem](const Run& run, char*) {
            FirstLayerAny<T, W> layer = problem;
            layer.lists.failure = run.failure;
            if constexpr (is_bf16<T> && is_bf16<W>) {
              if (first_layer_mma_fits(layer)) return check_cuda(first_layer_mma(layer, run.stream), "the first layer");
            }
            check_cuda(first_layer_plain(layer, run.stream), "the first layer");
          }};
}

template <class T, class W>
Work second_layer_work(const Op& op, const SecondLayerAny<T, W>& problem) {
  if constexpr (is_bf16<T> && is_bf16<W>) {
    if (const SecondLayer own = second_problem_sm90(problem);
        has_wgmma(op) && problem.lists.counts && second_layer_sm90_fits(own)) {
      return {second_layer_sm90_workspace(own, op.device().multiprocessors()), [own](const Run& run, char* scratch) {
                SecondLayer layer = own;
                layer.mask.failure = run.failure;
                check_cuda(second_layer_sm90(layer, {run.stream, run.multiprocessors, scratch}), "the second layer");
              }};
    }
  }
  return {0, [problem](const Run& run, char*) {
            SecondLayerAny<T, W> layer = problem;
            layer.lists.failure = run.failure;
            if constexpr (is_bf16<T> && is_bf16<W>) {
              if (second_layer_mma_fits(layer)) {
                return check_cuda(second_layer_mma(layer, run.stream), "the second layer");
              }
            }
            check_cuda(second_layer_plain(layer, run.stream), "the second layer");
          }};
}

template <class T, class W>
Work means_work(const FirstLayerAny<T, W>& layer, const View& means) {
  const NeuronMeans<T, W> problem = {layer.shape,  layer.x,  layer.x_batch, layer.x_row,         layer.w1,
                                     layer.w1_row, layer.b1, means.f32(),   stride_of(means, 0), stride_of(means, 1)};
  return {neuron_means_workspace(problem), [problem](const Run& run, char* scratch) {
            check_cuda(neuron_means(problem, scratch, run.stream), "the neurons' means");
          }};
}

void submit(Op& op, const std::vector<Work>& all) {
  Scratch space;
  std::vector<size_t> scratch;
  for (const Work& work : all) scratch.push_back(space.take(static_cast<int64_t>(work.scratch)));
  op.workspace(space);
  op.submit([=](const Run& run) {
    for (size_t i = 0; i < all.size(); ++i) all[i].run(run, run.workspace + scratch[i]);
  });
}

void first_layer(Op& op, const FirstLayerArguments& layer) {
  if (layer.activations.empty()) return;
  with_type(layer.x.dtype, [&](auto activations) {
    with_type(layer.w1.dtype, [&](auto weights) {
      const auto problem = first_problem<typename decltype(activations)::Type, typename decltype(weights)::Type>(layer);
      std::vector<Work> all = {first_layer_work(op, problem)};
      if (layer.means) all.push_back(means_work(problem, layer.means));
      submit(op, all);
    });
  });
}

void second_layer(Op& op, const SecondLayerArguments& layer) {
  if (layer.out.empty()) return;
  if (!layer.mask) {
    Scratch space;
    if (const auto dense = DenseSecondLayer::plan(op, layer, space)) {
      op.workspace(space);
      return op.submit([dense = *dense](const Run& run) { dense.run(run); });
    }
  }
  with_type(layer.slabs.dtype, [&](auto activations) {
    with_type(layer.w2t.dtype, [&](auto weights) {
      using T = typename decltype(activations)::Type;
      using W = typename decltype(weights)::Type;
      submit(op, {second_layer_work(op, second_problem<T, W>(layer))});
    });
  });
}

}  // namespace

extern "C" int32_t tamias_mlp_refresh_fc1(uint64_t stream, const tamias_tensor* x, const tamias_tensor* w1,
                                          const tamias_tensor* b1, int32_t activation,
                                          const tamias_tensor* activations, const tamias_tensor* means) {
  return run_op("mlp_refresh_fc1", stream, [&](Op& op) {
    first_layer(op, FirstLayerArguments::dense(op, x, w1, b1, activation, activations, means));
  });
}

extern "C" int32_t tamias_mlp_delta_fc1(uint64_t stream, const tamias_tensor* x, const tamias_tensor* w1,
                                        const tamias_tensor* b1, int32_t activation, const tamias_tensor* indices,
                                        const tamias_tensor* counts, const tamias_tensor* activations,
                                        const tamias_tensor* delta) {
  return run_op("mlp_delta_fc1", stream, [&](Op& op) {
    first_layer(op, FirstLayerArguments::chosen(op, x, w1, b1, activation, indices, counts, activations, delta));
  });
}

extern "C" int32_t tamias_mlp_refresh_fc2(uint64_t stream, const tamias_tensor* activations, const tamias_tensor* w2t,
                                          const tamias_tensor* b2, const tamias_tensor* out) {
  return run_op("mlp_refresh_fc2", stream, [&](Op& op) {
    second_layer(op, SecondLayerArguments::dense(op, activations, w2t, b2, out));
  });
}

extern "C" int32_t tamias_mlp_delta_fc2(uint64_t stream, const tamias_tensor* delta, const tamias_tensor* indices,
                                        const tamias_tensor* counts, const tamias_tensor* w2t,
                                        const tamias_tensor* out) {
  return run_op("mlp_delta_fc2", stream, [&](Op& op) {
    second_layer(op, SecondLayerArguments::chosen(op, delta, indices, counts, w2t, out));
  });
}
