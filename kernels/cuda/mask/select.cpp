// select_top_k, select_mass, select_threshold.
#include "common/checks/selection.h"
#include "runtime/check.h"
#include "select_plan.h"

using namespace tamias;

namespace {

// What the three rules share.
SelectProblem problem_of(const SelectionArguments& arguments) {
  const auto& [scores, always, dense, mask] = arguments;
  SelectProblem problem = {};
  problem.scores = scores.f32();
  problem.batch = scores.size(0);
  problem.lists = scores.size(1);
  problem.groups = scores.size(2);
  problem.columns = scores.size(3);
  problem.score_batch = scores.step(0);
  problem.score_list = scores.step(1);
  problem.score_group = scores.step(2);
  if (always) {
    problem.always = always.as<const uint8_t>();
    problem.always_step = always.step(0);
  }
  if (dense) {
    problem.dense_groups = dense.as<const uint8_t>();
    problem.dense_step = dense.step(0);
  }
  problem.indices = mask.indices.data;
  problem.short_indices = mask.short_indices;
  problem.capacity = mask.capacity;
  problem.counts = mask.counts.as<int32_t>();
  return problem;
}

using Select = cudaError_t (*)(const SelectProblem& problem, const Launch& launch);

void submit(Op& op, const SelectProblem& problem, Select select) {
  const int64_t groups = problem.batch * problem.lists * problem.groups;
  if (groups > INT32_MAX) refuse("scores has %lld groups, more than a grid", (long long)groups);
  op.workspace(select_workspace(problem, op.device().multiprocessors()));
  if (groups == 0) return;
  op.submit([=](const Run& run) { check_cuda(select(problem, run.launch()), "selecting columns"); });
}

}  // namespace

extern "C" int32_t tamias_select_top_k(uint64_t stream, const tamias_tensor* scores, int64_t k,
                                       const tamias_tensor* always, const tamias_tensor* dense_groups,
                                       const tamias_tensor* indices, const tamias_tensor* counts) {
  return run_op("select_top_k", stream, [&](Op& op) {
    check_top_k(k);
    SelectProblem problem = problem_of(SelectionArguments(op, scores, always, dense_groups, indices, counts));
    problem.k = k;
    submit(op, problem, select_top_k);
  });
}

extern "C" int32_t tamias_select_mass(uint64_t stream, const tamias_tensor* scores, float mass, int64_t minimum,
                                      int64_t maximum, const tamias_tensor* always, const tamias_tensor* dense_groups,
                                      const tamias_tensor* indices, const tamias_tensor* counts) {
  return run_op("select_mass", stream, [&](Op& op) {
    check_mass(mass, minimum, maximum);
    SelectProblem problem = problem_of(SelectionArguments(op, scores, always, dense_groups, indices, counts));
    problem.mass = mass;
    problem.minimum = minimum;
    problem.maximum = maximum;
    submit(op, problem, select_mass);
  });
}

extern "C" int32_t tamias_select_threshold(uint64_t stream, const tamias_tensor* scores, float z, int64_t maximum,
                                           const tamias_tensor* always, const tamias_tensor* dense_groups,
                                           const tamias_tensor* indices, const tamias_tensor* counts) {
  return run_op("select_threshold", stream, [&](Op& op) {
    check_threshold(z, maximum);
    SelectProblem problem = problem_of(SelectionArguments(op, scores, always, dense_groups, indices, counts));
    problem.z = z;
    problem.maximum = maximum;
    submit(op, problem, select_threshold);
  });
}
