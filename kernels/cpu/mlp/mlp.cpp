// mlp_refresh_fc1, mlp_refresh_fc2, mlp_delta_fc1, mlp_delta_fc2.
#include <algorithm>
#include <optional>

#include "../common/convert.h"
#include "../common/work_plan.h"
#include "../mask/column_mask.h"
#include "mlp_kernels.h"

using namespace tamias;

namespace {

const MlpKernels& mlp_of(Isa isa) { return isa == Isa::avx512 ? avx512::mlp_kernels : avx2::mlp_kernels; }

float* row_of(const View& view, int64_t batch, int64_t row) {
  return view.f32() + batch * view.stride[0] + row * view.stride[1];
}

// Slabs [batch, groups, places, group] against tokens [batch, tokens, width].
void check_slabs(const Op& op, const View& slabs, const View& tokens) {
  op.contiguous(slabs);
  const int64_t group = slabs.size(3);
  if (group < 1 || group > 4096) {
    refuse("%s has groups of %lld tokens, expected 1 to 4096", slabs.name, (long long)group);
  }
  op.shape(slabs, {tokens.size(0), (tokens.size(1) + group - 1) / group, slabs.size(2), group});
}

// Pieces are the groups of all batches; `units` of a piece can be split.
struct Groups {
  int64_t groups, group, tokens, count;
  size_t plan, scratch;
  int64_t scratch_floats;

  Groups(const Op& op, const View& slabs, int64_t tokens, int64_t scratch_floats, Scratch& space)
      : groups(slabs.size(1)), group(slabs.size(3)), tokens(tokens), count(slabs.size(0) * slabs.size(1)),
        scratch_floats(scratch_floats) {
    plan = space.take(WorkPlan::bytes(count));
    scratch = space.floats(scratch_floats * op.device().threads());
  }

  int64_t first_token(int64_t piece) const { return piece % groups * group; }
  int64_t tokens_of(int64_t piece) const { return std::min(group, tokens - first_token(piece)); }

  // cost(piece): multiply-adds of a token. body(item, scratch)
  template <class Cost, class Body>
  void run(const Run& run, const Cost& cost, const Body& body) const {
    WorkPlan work(Scratch::at<WorkItem>(run, plan));
    for (int64_t piece = 0; piece < count; ++piece) work.add(piece, cost(piece) * tokens_of(piece));
    work.split(run.threads, WorkPlan::kMostParts);
    work.run(run, [&](const WorkItem& item, int thread) {
      body(item, Scratch::at<float>(run, scratch) + thread * scratch_floats);
    });
  }
};

// Both forms of the first layer: dense (no mask), or the chosen neurons with a delta.
void first_layer(Op& op, const tamias_tensor* x_tensor, const tamias_tensor* w1_tensor, const tamias_tensor* b1_tensor,
                 int32_t activation, const tamias_tensor* indices, const tamias_tensor* counts, bool sparse,
                 const tamias_tensor* activations_tensor, const tamias_tensor* delta_tensor,
                 const tamias_tensor* means_tensor) {
  Op::activation(activation);
  const View x = op.input("x", x_tensor, kF32, 3, 3);
  const View w1 = op.input("w1", w1_tensor, kWeights, 2, 2);
  const View b1 = op.optional_input("b1", b1_tensor, kWeights, 1, 1);
  const View slabs = op.output("activations", activations_tensor, kF32, 4, 4);
  op.rows(x);
  op.rows(w1);
  const int64_t hidden = w1.size(0);
  const int64_t d = x.size(2);
  op.shape(w1, {hidden, d});
  op.shape(b1, {hidden});
  if (hidden > INT32_MAX) refuse("w1 has %lld neurons, more than an index can name", (long long)hidden);
  check_slabs(op, slabs, x);
  op.shape(slabs, {x.size(0), slabs.size(1), hidden, slabs.size(3)});
  const View means = op.optional_output("means", means_tensor, kF32, 3, 3);
  op.shape(means, {x.size(0), slabs.size(1), hidden});
  op.rows(means);
  std::optional<ColumnMask> mask;
  View delta{.name = "delta"};
  if (sparse) {
    mask.emplace(op, indices, counts, x.size(0), 1, slabs.size(1), hidden, false);
    delta = op.output("delta", delta_tensor, kF32, 4, 4);
    op.contiguous(delta);
    op.shape(delta, {x.size(0), slabs.size(1), mask->capacity, slabs.size(3)});
    op.apart(slabs, {mask->indices, mask->counts, delta});
    op.apart(delta, {x, w1, b1, mask->indices, mask->counts});
  }
  op.apart(slabs, {x, w1, b1, means});
  op.apart(means, {x, w1, b1});
  Scratch space;
  const F32Rows biases(b1, space);
  const Groups groups(op, slabs, x.size(1), mlp_of(op.device().isa()).first_scratch_floats(d), space);
  op.workspace(space);
  if (slabs.empty()) return;
  op.submit([=](const Run& run) {
    if (mask) mask->check_contents("mlp_delta_fc1", true);
    const MlpKernels& kernels = mlp_of(run.isa);
    biases.unpack(run);
    const auto neurons = [&](int64_t piece) { return mask ? mask->chosen(piece) : hidden; };
    groups.run(run, [&](int64_t piece) { return neurons(piece) * d; }, [&](const WorkItem& item, float* scratch) {
      const int64_t piece = item.index;
      const int64_t batch = piece / groups.groups;
      FirstLayerBlock block{};
      block.x = row_of(x, batch, groups.first_token(piece));
      block.x_stride = x.stride[1];
      block.tokens = groups.tokens_of(piece);
      block.group = groups.group;
      block.d = d;
      block.w1 = {w1.data, w1.dtype, w1.stride[0]};
      block.b1 = biases ? biases.row(run, 0) : nullptr;
      block.activation = activation;
      if (mask) {
        block.indices = mask->list(piece);
        block.short_indices = mask->short_indices;
        block.delta = delta.f32() + piece * mask->capacity * groups.group;
      }
      const int64_t blocks = (neurons(piece) + kernels.row_block - 1) / kernels.row_block;
      block.begin = part_begin(blocks, item.part, item.parts) * kernels.row_block;
      block.end = std::min(neurons(piece), part_begin(blocks, item.part + 1, item.parts) * kernels.row_block);
      block.slab = slabs.f32() + piece * hidden * groups.group;
      if (means) block.means = row_of(means, batch, piece % groups.groups);
      kernels.first_layer(block, scratch);
    });
  });
}

// Both forms of the second layer: dense (no mask, out starts from b2), or out += chosen rows.
void second_layer(Op& op, const View& slabs, const tamias_tensor* w2t_tensor, const tamias_tensor* b2_tensor,
                  const tamias_tensor* indices, const tamias_tensor* counts, bool sparse,
                  const tamias_tensor* out_tensor) {
  const View w2t = op.input("w2t", w2t_tensor, kWeights, 2, 2);
  const View b2 = op.optional_input("b2", b2_tensor, kWeights, 1, 1);
  const View out = op.output("out", out_tensor, kF32, 3, 3);
  op.rows(w2t);
  op.rows(out);
  const int64_t hidden = w2t.size(0);
  const int64_t n = out.size(2);
  op.shape(w2t, {hidden, n});
  op.shape(b2, {n});
  if (hidden > INT32_MAX) refuse("w2t has %lld neurons, more than an index can name", (long long)hidden);
  check_slabs(op, slabs, out);
  std::optional<ColumnMask> mask;
  if (sparse) {
    mask.emplace(op, indices, counts, out.size(0), 1, slabs.size(1), hidden, false);
    op.shape(slabs, {out.size(0), slabs.size(1), mask->capacity, slabs.size(3)});
    op.apart(out, {mask->indices, mask->counts});
  } else {
    op.shape(slabs, {out.size(0), slabs.size(1), hidden, slabs.size(3)});
  }
  op.apart(out, {slabs, w2t, b2});
  Scratch space;
  const F32Rows biases(b2, space);
  const Groups groups(op, slabs, out.size(1), mlp_of(op.device().isa()).second_scratch_floats(), space);
  op.workspace(space);
  if (out.empty()) return;
  op.submit([=](const Run& run) {
    if (mask) mask->check_contents("mlp_delta_fc2", true);
    const MlpKernels& kernels = mlp_of(run.isa);
    biases.unpack(run);
    const auto neurons = [&](int64_t piece) { return mask ? mask->chosen(piece) : hidden; };
    const auto cost = [&](int64_t piece) { return (neurons(piece) + 1) * n; };
    groups.run(run, cost, [&](const WorkItem& item, float* scratch) {
      const int64_t piece = item.index;
      SecondLayerBlock block{};
      block.activations = slabs.f32() + piece * slabs.size(2) * groups.group;
      block.group = groups.group;
      block.tokens = groups.tokens_of(piece);
      block.w2t = {w2t.data, w2t.dtype, w2t.stride[0]};
      if (mask) {
        block.indices = mask->list(piece);
        block.short_indices = mask->short_indices;
      }
      block.count = neurons(piece);
      const int64_t panels = (n + kernels.panel - 1) / kernels.panel;
      block.begin = part_begin(panels, item.part, item.parts) * kernels.panel;
      block.end = std::min(n, part_begin(panels, item.part + 1, item.parts) * kernels.panel);
      block.start = !mask;
      block.b2 = biases ? biases.row(run, 0) : nullptr;
      block.out = row_of(out, piece / groups.groups, groups.first_token(piece));
      block.out_stride = out.stride[1];
      kernels.second_layer(block, scratch);
    });
  });
}

}  // namespace

extern "C" int32_t tamias_mlp_refresh_fc1(uint64_t stream, const tamias_tensor* x, const tamias_tensor* w1,
                                          const tamias_tensor* b1, int32_t activation,
                                          const tamias_tensor* activations, const tamias_tensor* means) {
  return run_op("mlp_refresh_fc1", stream, [&](Op& op) {
    first_layer(op, x, w1, b1, activation, nullptr, nullptr, false, activations, nullptr, means);
  });
}

extern "C" int32_t tamias_mlp_delta_fc1(uint64_t stream, const tamias_tensor* x, const tamias_tensor* w1,
                                        const tamias_tensor* b1, int32_t activation, const tamias_tensor* indices,
                                        const tamias_tensor* counts, const tamias_tensor* activations,
                                        const tamias_tensor* delta) {
  return run_op("mlp_delta_fc1", stream, [&](Op& op) {
    first_layer(op, x, w1, b1, activation, indices, counts, true, activations, delta, nullptr);
  });
}

extern "C" int32_t tamias_mlp_refresh_fc2(uint64_t stream, const tamias_tensor* activations, const tamias_tensor* w2t,
                                          const tamias_tensor* b2, const tamias_tensor* out) {
  return run_op("mlp_refresh_fc2", stream, [&](Op& op) {
    second_layer(op, op.input("activations", activations, kF32, 4, 4), w2t, b2, nullptr, nullptr, false, out);
  });
}

extern "C" int32_t tamias_mlp_delta_fc2(uint64_t stream, const tamias_tensor* delta, const tamias_tensor* indices,
                                        const tamias_tensor* counts, const tamias_tensor* w2t,
                                        const tamias_tensor* out) {
  return run_op("mlp_delta_fc2", stream, [&](Op& op) {
    second_layer(op, op.input("delta", delta, kF32, 4, 4), w2t, nullptr, indices, counts, true, out);
  });
}
