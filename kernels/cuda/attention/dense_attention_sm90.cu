#include "dense_attention_launch.cuh"

namespace tamias {
namespace {

using namespace dense_attention;

constexpr size_t kAlignment = 256;

size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

HeadRows<const float> read_only(const HeadRows<float>& rows) { return {rows.data, rows.batch, rows.head, rows.row}; }

// The workspace: partial results, reports of the row tiles, a copy of previous_lse.
class Workspace {
 public:
  Workspace(const DenseAttention& problem, int64_t partials, int64_t tiles) {
    const AttentionShape& shape = problem.shape;
    reports_ = aligned(static_cast<size_t>(partials) * sizeof(float));
    saved_ = reports_ + aligned(static_cast<size_t>(tiles) * sizeof(uint4));
    bytes_ = saved_;
    if (problem.column_sums != nullptr) {
      bytes_ += static_cast<size_t>(shape.batch) * shape.heads * shape.queries * sizeof(float);
    }
  }

  size_t bytes() const { return bytes_; }

  Scratch scratch(const Launch& how, const AttentionShape& shape) const {
    return {reinterpret_cast<uint4*>(how.workspace + reports_), reinterpret_cast<float*>(how.workspace),
            {reinterpret_cast<float*>(how.workspace + saved_), shape.heads * shape.queries, shape.queries, 1}};
  }

 private:
  size_t reports_, saved_, bytes_;
};

// The fastest shapes without spills.
template <int kHeadDim, Reference kReference, bool kSums>
struct Shape {
  using type = Tile<128, 2, 128, kReference, kSums, true>;
};

template <Reference kReference>
struct Shape<64, kReference, false> {
  using type = Tile<64, 3, 128, kReference, false, false>;
};

template <Reference kReference>
struct Shape<64, kReference, true> {
  using type = Tile<64, 2, kReference == Reference::kRunning ? 128 : 192, kReference, true, false>;
};

// A fast kernel, and the exact one that does again what the fast one reported.
template <int kHeadDim>
struct Plain {
  using Fast = typename Shape<kHeadDim, Reference::kAnchored, false>::type;
  using Exact = typename Shape<kHeadDim, Reference::kRunning, false>::type;

  static Workspace workspace(const DenseAttention& problem, int multiprocessors) {
    return {problem, partial_floats<Fast>(problem, multiprocessors),
            item_count<Fast>(problem) * item_tiles<Fast>(problem)};
  }

  static cudaError_t run(const DenseAttention& problem, const Launch& how) {
    Scratch scratch = workspace(problem, how.multiprocessors).scratch(how, problem.shape);
    const cudaError_t status = launch<Fast>(problem, {}, scratch, how);
    if (status != cudaSuccess) return status;
    scratch.partials = nullptr;
    return launch<Exact>(problem, {}, scratch, how);
  }
};

template <int kHeadDim>
struct WithSums {
  using First = typename Plain<kHeadDim>::Exact;
  using Fast = typename Shape<kHeadDim, Reference::kGiven, true>::type;
  using Exact = typename Shape<kHeadDim, Reference::kRunning, true>::type;

  static Workspace workspace(const DenseAttention& problem, int multiprocessors) {
    const int64_t partials =
        std::max(partial_floats<First>(problem, multiprocessors), partial_floats<Fast>(problem, multiprocessors));
    return {problem, partials, item_count<Fast>(problem) * item_tiles<Fast>(problem)};
  }

  static cudaError_t run(const DenseAttention& problem, const Launch& how) {
    Scratch scratch = workspace(problem, how.multiprocessors).scratch(how, problem.shape);
    const HeadRows<float> saved = scratch.saved_previous;
    HeadRows<const float> previous = problem.previous_lse;
    if (previous.data == nullptr) {
      // This step's own log-sum-exp has to be known first.
      DenseAttention first = problem;
      first.lse = saved;
      const cudaError_t status = launch<First>(first, {}, {nullptr, scratch.partials, {}}, how);
      if (status != cudaSuccess) return status;
      previous = read_only(saved);
      scratch.saved_previous = {};
    }
    const cudaError_t status = launch<Fast>(problem, previous, scratch, how);
    if (status != cudaSuccess) return status;
    return launch<Exact>(problem, read_only(saved), {scratch.reports, nullptr, {}}, how);
  }
};

// What `solve(solver)` returns for the problem's solver.
template <class Solve>
auto with_solver(const DenseAttention& problem, const Solve& solve) {
  const bool wide = problem.shape.head_dim == 128;
  if (problem.column_sums == nullptr) return wide ? solve(Plain<128>()) : solve(Plain<64>());
  return wide ? solve(WithSums<128>()) : solve(WithSums<64>());
}

}  // namespace

bool dense_attention_sm90_fits(const DenseAttention& problem) {
  const AttentionShape& shape = problem.shape;
  constexpr int64_t kLimit = int64_t{1} << 30;
  if (shape.head_dim != 64 && shape.head_dim != 128) return false;
  if (shape.queries >= kLimit || shape.keys >= kLimit || shape.keys < 1 || !(shape.scale > 0)) return false;
  if (problem.column_sums != nullptr && problem.group < 1) return false;
  const int64_t rows = problem.column_sums != nullptr ? std::min<int64_t>(problem.group, 64) : 64;
  if ((shape.queries + rows - 1) / rows * shape.heads * shape.batch >= kLimit) return false;
  const auto even = [&](const auto& tensor, int64_t tokens) {
    const auto stride = [](int64_t elements, int64_t extent) {
      return extent == 1 || (elements > 0 && elements % 8 == 0 && elements < int64_t{1} << 39);
    };
    return reinterpret_cast<uintptr_t>(tensor.data) % 16 == 0 && stride(tensor.row, tokens) &&
           stride(tensor.head, shape.heads) && stride(tensor.batch, shape.batch);
  };
  return even(problem.q, shape.queries) && even(problem.k, shape.keys) && even(problem.v, shape.keys) &&
         even(problem.out, shape.queries);
}

size_t dense_attention_sm90_workspace(const DenseAttention& problem, int multiprocessors) {
  return with_solver(problem, [&](auto solver) { return solver.workspace(problem, multiprocessors).bytes(); });
}

cudaError_t dense_attention_sm90(const DenseAttention& problem, const Launch& how) {
  const AttentionShape& shape = problem.shape;
  if (shape.batch == 0 || shape.heads == 0 || shape.queries == 0) return cudaSuccess;
  return with_solver(problem, [&](auto solver) { return solver.run(problem, how); });
}

}  // namespace tamias
