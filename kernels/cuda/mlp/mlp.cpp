// mlp_refresh_fc1, mlp_refresh_fc2, mlp_delta_fc1, mlp_delta_fc2.
#include "common/checks/mlp.h"
#include "common/dispatch.h"
#include "dense_fc2.h"
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
Fc1Any<T, W> fc1_problem(const Fc1Arguments& layer) {
  Fc1Any<T, W> problem = {};
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
Fc2Any<T, W> fc2_problem(const Fc2Arguments& layer) {
  Fc2Any<T, W> problem = {};
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

using ShortFc1 = Fc1Any<__nv_bfloat16, __nv_bfloat16>;
using ShortFc2 = Fc2Any<__nv_bfloat16, __nv_bfloat16>;

// None where the bias is not as the kernel wants it.
std::optional<Fc1> fc1_problem_sm90(const ShortFc1& problem) {
  const Bias& b1 = problem.b1;
  if (b1.data && (!b1.is_bf16 || b1.stride != 1)) return {};
  const MlpShape& shape = problem.shape;
  return Fc1{shape.batch,       shape.tokens,      shape.width,
                    shape.hidden,      shape.group,       problem.x,
                    problem.x_batch,   problem.x_row,     problem.w1,
                    problem.w1_row,    static_cast<const __nv_bfloat16*>(b1.data),
                    problem.activation, neuron_mask(problem.lists), problem.activations,
                    problem.delta};
}

Fc2 fc2_problem_sm90(const ShortFc2& problem) {
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
Work fc1_work(const Op& op, const Fc1Any<T, W>& problem) {
  if constexpr (is_bf16<T> && is_bf16<W>) {
    if (const auto own = fc1_problem_sm90(problem); has_wgmma(op) && own && fc1_sm90_fits(*own)) {
      return {fc1_sm90_workspace(*own, op.device().multiprocessors()), [own](const Run& run, char* scratch) {
                Fc1 layer = *own;
                layer.mask.failure = run.failure;
                check_cuda(fc1_sm90(layer, {run.stream, run.multiprocessors, scratch}), "fc1");
              }};
    }
  }
  return {0, [problem](const Run& run, char*) {
            Fc1Any<T, W> layer = problem;
            layer.lists.failure = run.failure;
            if constexpr (is_bf16<T> && is_bf16<W>) {
              if (fc1_mma_fits(layer)) return check_cuda(fc1_mma(layer, run.stream), "fc1");
            }
            check_cuda(fc1_plain(layer, run.stream), "fc1");
          }};
}

template <class T, class W>
Work fc2_work(const Op& op, const Fc2Any<T, W>& problem) {
  if constexpr (is_bf16<T> && is_bf16<W>) {
    if (const Fc2 own = fc2_problem_sm90(problem);
        has_wgmma(op) && problem.lists.counts && fc2_sm90_fits(own)) {
      return {fc2_sm90_workspace(own, op.device().multiprocessors()), [own](const Run& run, char* scratch) {
                Fc2 layer = own;
                layer.mask.failure = run.failure;
                check_cuda(fc2_sm90(layer, {run.stream, run.multiprocessors, scratch}), "fc2");
              }};
    }
  }
  return {0, [problem](const Run& run, char*) {
            Fc2Any<T, W> layer = problem;
            layer.lists.failure = run.failure;
            if constexpr (is_bf16<T> && is_bf16<W>) {
              if (fc2_mma_fits(layer)) {
                return check_cuda(fc2_mma(layer, run.stream), "fc2");
              }
            }
            check_cuda(fc2_plain(layer, run.stream), "fc2");
          }};
}

template <class T, class W>
Work means_work(const Fc1Any<T, W>& layer, const View& means) {
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

}  // namespace

void tamias::submit_fc1(Op& op, const Fc1Arguments& layer) {
  if (layer.activations.empty()) return;
  with_type(layer.x.dtype, [&](auto activations) {
    with_type(layer.w1.dtype, [&](auto weights) {
      const auto problem = fc1_problem<typename decltype(activations)::Type, typename decltype(weights)::Type>(layer);
      std::vector<Work> all = {fc1_work(op, problem)};
      if (layer.means) all.push_back(means_work(problem, layer.means));
      submit(op, all);
    });
  });
}

void tamias::submit_fc2(Op& op, const Fc2Arguments& layer) {
  if (layer.out.empty()) return;
  if (!layer.mask) {
    Scratch space;
    if (const auto dense = DenseFc2::plan(op, layer, space)) {
      op.workspace(space);
      return op.submit([dense = *dense](const Run& run) { dense.run(run); });
    }
  }
  with_type(layer.slabs.dtype, [&](auto activations) {
    with_type(layer.w2t.dtype, [&](auto weights) {
      using T = typename decltype(activations)::Type;
      using W = typename decltype(weights)::Type;
      submit(op, {fc2_work(op, fc2_problem<T, W>(layer))});
    });
  });
}
