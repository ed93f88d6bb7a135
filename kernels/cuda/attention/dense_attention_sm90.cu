#include "dense_attention_launch.cuh"

namespace tamias {
namespace {

using dense_attention::launch;
using dense_attention::Reference;
using dense_attention::Tile;

constexpr size_t kAlignment = 256;

size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// Workspace: reports of the items, then a copy of previous_lse.
size_t report_bytes(const DenseAttention& problem, int64_t item_rows) {
  const AttentionShape& shape = problem.shape;
  const int64_t items = (shape.queries + item_rows - 1) / item_rows * shape.heads * shape.batch;
  return aligned(static_cast<size_t>(items) * sizeof(uint4));
}

size_t lse_bytes(const AttentionShape& shape) {
  return aligned(static_cast<size_t>(shape.batch) * shape.heads * shape.queries * sizeof(float));
}

template <int kHeadDim>
cudaError_t plain(const DenseAttention& problem, const Launch& how) {
  using Fast = Tile<kHeadDim, 3, 128, false, Reference::kAnchored, false>;
  using Exact = Tile<kHeadDim, 3, 128, false, Reference::kRunning, false>;
  uint4* const reports = reinterpret_cast<uint4*>(how.workspace);
  const cudaError_t status = launch<Fast>(problem, Fast::kRows, {}, {}, reports, how);
  return status != cudaSuccess ? status : launch<Exact>(problem, Exact::kRows, {}, {}, reports, how);
}

template <int kHeadDim, int kWarpgroups>
cudaError_t with_sums(const DenseAttention& problem, const Launch& how) {
  using Fast = Tile<kHeadDim, kWarpgroups, 128, kWarpgroups == 2, Reference::kGiven, true>;
  using Exact = Tile<kHeadDim, kWarpgroups, 128, kWarpgroups == 2, Reference::kRunning, true>;
  const AttentionShape& shape = problem.shape;
  uint4* const reports = reinterpret_cast<uint4*>(how.workspace);
  HeadRows<float> saved{reinterpret_cast<float*>(how.workspace + report_bytes(problem, problem.group)),
                        shape.heads * shape.queries, shape.queries, 1};
  const auto read = [](const HeadRows<float>& rows) {
    return HeadRows<const float>{rows.data, rows.batch, rows.head, rows.row};
  };
  HeadRows<const float> previous = problem.previous_lse;
  if (previous.data == nullptr) {
    // This step's own log-sum-exp has to be known first.
    DenseAttention first = problem;
    first.lse = saved;
    first.column_sums = nullptr;
    using First = Tile<kHeadDim, 3, 128, false, Reference::kRunning, false>;
    const cudaError_t status = launch<First>(first, First::kRows, {}, {}, nullptr, how);
    if (status != cudaSuccess) return status;
    previous = read(saved);
  }
  const HeadRows<float> copy = problem.previous_lse.data == nullptr ? HeadRows<float>{} : saved;
  const cudaError_t status = launch<Fast>(problem, problem.group, previous, copy, reports, how);
  return status != cudaSuccess ? status : launch<Exact>(problem, problem.group, read(saved), {}, reports, how);
}

template <int kHeadDim>
cudaError_t any(const DenseAttention& problem, const Launch& how) {
  if (problem.column_sums == nullptr) return plain<kHeadDim>(problem, how);
  return problem.group <= 128 ? with_sums<kHeadDim, 2>(problem, how) : with_sums<kHeadDim, 3>(problem, how);
}

}  // namespace

bool dense_attention_sm90_fits(const DenseAttention& problem) {
  const AttentionShape& shape = problem.shape;
  constexpr int64_t kLimit = int64_t{1} << 30;
  if (shape.head_dim != 64 && shape.head_dim != 128) return false;
  if (shape.queries >= kLimit || shape.keys >= kLimit || shape.keys < 1 || !(shape.scale > 0)) return false;
  if (problem.column_sums != nullptr && problem.group < 1) return false;
  const int64_t rows = problem.column_sums != nullptr ? problem.group : 192;
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

size_t dense_attention_sm90_workspace(const DenseAttention& problem, int) {
  if (problem.column_sums == nullptr) return report_bytes(problem, 192);
  return report_bytes(problem, problem.group) + lse_bytes(problem.shape);
}

cudaError_t dense_attention_sm90(const DenseAttention& problem, const Launch& how) {
  const AttentionShape& shape = problem.shape;
  if (shape.batch == 0 || shape.heads == 0 || shape.queries == 0) return cudaSuccess;
  return shape.head_dim == 128 ? any<128>(problem, how) : any<64>(problem, how);
}

}  // namespace tamias
