#include "common/checks/move.h"
#include "pieces.cuh"
#include "runtime/check.h"
#include "runtime/run.h"

using namespace tamias;

namespace {

constexpr int kThreads = 128;

struct Gather {
  const void* table;
  int32_t table_dtype;
  int64_t table_batch, table_row, table_rows;
  const int32_t* indices;
  int64_t index_step;
  void* out;
  int32_t out_dtype;
  int64_t out_batch, out_row;
  int64_t rows, d;  // of out; rows of one batch
};

// One row a block.
template <bool kPacked>
__global__ __launch_bounds__(kThreads) void gather(const Gather problem) {
  const int64_t batch = blockIdx.x / static_cast<uint32_t>(problem.rows);
  const int64_t row = blockIdx.x % static_cast<uint32_t>(problem.rows);
  const int64_t wanted = problem.indices[row * problem.index_step];
  const int64_t source = max(int64_t{0}, min(wanted, problem.table_rows - 1));
  const int64_t from = batch * problem.table_batch + source * problem.table_row;
  const int64_t to = batch * problem.out_batch + row * problem.out_row;
  if constexpr (kPacked) {
    for (int64_t i = threadIdx.x * kPiece; i < problem.d; i += kThreads * kPiece) {
      float values[kPiece];
      unpack_piece(load_piece(problem.table, problem.table_dtype, from + i), problem.table_dtype, values);
      store_piece(problem.out, problem.out_dtype, to + i, values);
    }
  } else {
    for (int64_t i = threadIdx.x; i < problem.d; i += kThreads) {
      const float value = load_element(problem.table, problem.table_dtype, from + i);
      store_element(problem.out, problem.out_dtype, to + i, value);
    }
  }
}

}  // namespace

extern "C" int32_t tamias_gather_rows(uint64_t stream, const tamias_tensor* table, const tamias_tensor* indices,
                                      const tamias_tensor* out) {
  return run_op("gather_rows", stream, [&](Op& op) {
    const GatherArguments arguments(op, table, indices, out);
    if (arguments.out.empty()) return;
    const auto& [from, chosen, result] = arguments;
    const bool batched = from.rank == 3;
    const Gather problem = {from.data,
                            from.dtype,
                            batched ? from.step(0) : 0,
                            from.step(-2),
                            from.size(-2),
                            chosen.as<const int32_t>(),
                            chosen.step(0),
                            result.data,
                            result.dtype,
                            batched ? result.step(0) : 0,
                            result.step(-2),
                            result.size(-2),
                            result.size(-1)};
    const int64_t blocks = problem.rows * (batched ? result.size(0) : 1);
    if (blocks > INT32_MAX) refuse("out has %lld rows, more than a grid", (long long)blocks);
    const bool packed = rows_have_pieces(from) && rows_have_pieces(result);
    op.submit([=](const Run& run) {
      const auto kernel = packed ? gather<true> : gather<false>;
      kernel<<<static_cast<unsigned>(blocks), kThreads, 0, run.stream>>>(problem);
    });
  });
}
