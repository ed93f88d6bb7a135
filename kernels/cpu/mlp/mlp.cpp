// mlp_refresh_fc1, mlp_refresh_fc2, mlp_delta_fc1, mlp_delta_fc2.
#include <algorithm>
#include <optional>

#include "../common/convert.h"
#include "../common/work_plan.h"
#include "../mask/readable_mask.h"
#include "common/checks/mlp.h"
#include "mlp_kernels.h"

using namespace tamias;

namespace {

const MlpKernels& mlp_of(Isa isa) { return isa == Isa::avx512 ? avx512::mlp_kernels : avx2::mlp_kernels; }

float* row_of(const View& view, int64_t batch, int64_t row) {
  return view.f32() + batch * view.stride[0] + row * view.stride[1];
}

std::optional<ReadableMask> readable(const std::optional<ColumnMask>& mask) {
  return mask ? std::optional<ReadableMask>(*mask) : std::nullopt;
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

}  // namespace

// Both forms of fc1: dense (no mask), or the chosen neurons with a delta.
void tamias::submit_fc1(Op& op, const Fc1Arguments& layer) {
  Scratch space;
  const F32Rows biases(layer.b1, space);
  const int64_t scratch_floats = mlp_of(op.device().isa()).fc1_scratch_floats(layer.d);
  const Groups groups(op, layer.activations, layer.tokens, scratch_floats, space);
  op.workspace(space);
  if (layer.activations.empty()) return;
  op.submit([=, mask = readable(layer.mask)](const Run& run) {
    if (mask) mask->check_contents("mlp_delta_fc1", true);
    const MlpKernels& kernels = mlp_of(run.isa);
    biases.unpack(run);
    const auto neurons = [&](int64_t piece) { return mask ? mask->chosen(piece) : layer.hidden; };
    groups.run(run, [&](int64_t piece) { return neurons(piece) * layer.d; }, [&](const WorkItem& item, float* scratch) {
      const int64_t piece = item.index;
      const int64_t batch = piece / groups.groups;
      Fc1Block block{};
      block.x = row_of(layer.x, batch, groups.first_token(piece));
      block.x_stride = layer.x.stride[1];
      block.tokens = groups.tokens_of(piece);
      block.group = groups.group;
      block.d = layer.d;
      block.w1 = {layer.w1.data, layer.w1.dtype, layer.w1.stride[0]};
      block.b1 = biases ? biases.row(run, 0) : nullptr;
      block.activation = layer.activation;
      if (mask) {
        block.indices = mask->list(piece);
        block.short_indices = mask->short_indices;
        block.delta = layer.delta.f32() + piece * mask->capacity * groups.group;
      }
      const int64_t blocks = (neurons(piece) + kernels.row_block - 1) / kernels.row_block;
      block.begin = part_begin(blocks, item.part, item.parts) * kernels.row_block;
      block.end = std::min(neurons(piece), part_begin(blocks, item.part + 1, item.parts) * kernels.row_block);
      block.slab = layer.activations.f32() + piece * layer.hidden * groups.group;
      if (layer.means) block.means = row_of(layer.means, batch, piece % groups.groups);
      kernels.fc1(block, scratch);
    });
  });
}

// Both forms of fc2: dense (no mask, out starts from b2), or out += chosen rows.
void tamias::submit_fc2(Op& op, const Fc2Arguments& layer) {
  Scratch space;
  const F32Rows biases(layer.b2, space);
  const int64_t scratch_floats = mlp_of(op.device().isa()).fc2_scratch_floats();
  const Groups groups(op, layer.slabs, layer.tokens, scratch_floats, space);
  op.workspace(space);
  if (layer.out.empty()) return;
  op.submit([=, mask = readable(layer.mask)](const Run& run) {
    if (mask) mask->check_contents("mlp_delta_fc2", true);
    const MlpKernels& kernels = mlp_of(run.isa);
    biases.unpack(run);
    const auto neurons = [&](int64_t piece) { return mask ? mask->chosen(piece) : layer.hidden; };
    const auto cost = [&](int64_t piece) { return (neurons(piece) + 1) * layer.n; };
    groups.run(run, cost, [&](const WorkItem& item, float* scratch) {
      const int64_t piece = item.index;
      Fc2Block block{};
      block.activations = layer.slabs.f32() + piece * layer.slabs.size(2) * groups.group;
      block.group = groups.group;
      block.tokens = groups.tokens_of(piece);
      block.w2t = {layer.w2t.data, layer.w2t.dtype, layer.w2t.stride[0]};
      if (mask) {
        block.indices = mask->list(piece);
        block.short_indices = mask->short_indices;
      }
      block.count = neurons(piece);
      const int64_t panels = (layer.n + kernels.panel - 1) / kernels.panel;
      block.begin = part_begin(panels, item.part, item.parts) * kernels.panel;
      block.end = std::min(layer.n, part_begin(panels, item.part + 1, item.parts) * kernels.panel);
      block.start = !mask;
      block.b2 = biases ? biases.row(run, 0) : nullptr;
      block.out = row_of(layer.out, piece / groups.groups, groups.first_token(piece));
      block.out_stride = layer.out.stride[1];
      kernels.fc2(block, scratch);
    });
  });
}
