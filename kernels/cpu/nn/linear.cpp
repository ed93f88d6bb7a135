// out = activation(x W^T + bias): oneDNN's products, our bias and activation on blocks that are still in the cache.
#include <dnnl.h>

#include <algorithm>
#include <atomic>

#include "../common/convert.h"
#include "common/checks/linear.h"
#include "common/loops.h"
#include "../common/parallel.h"
#include "kernels.h"

using namespace tamias;

namespace {

// 16-bit weights are widened in panels of columns of out that stay in the cache until they are multiplied.
constexpr int64_t kPanelElements = 1 << 20;
constexpr int64_t kFewestPanelColumns = 64;

// Blocks of x small enough that the product is still in the second-level cache when bias and activation come.
constexpr int64_t kBlockElements = 1 << 20;
constexpr int64_t kFewestBlockRows = 128;

// Rows of x and out at regular distances, and rows of W, or of W transposed, as F32.
struct Product {
  const float* x;
  int64_t x_step;
  const float* weight;
  int64_t weight_step;
  float* out;
  int64_t out_step;
  int64_t rows, columns, depth;
  bool weight_transposed;
  bool accumulate;
};

void multiply(const Product& p) {
  const dnnl_status_t status =
      dnnl_sgemm('N', p.weight_transposed ? 'N' : 'T', p.rows, p.columns, p.depth, 1.0f, p.x,
                 std::max(p.x_step, p.depth), p.weight,
                 std::max(p.weight_step, p.weight_transposed ? p.columns : p.depth), p.accumulate ? 1.0f : 0.0f, p.out,
                 std::max(p.out_step, p.columns));
  if (status != dnnl_success) fail(TAMIAS_DEVICE, "oneDNN's product failed with status %d", status);
}

void multiply_and_finish(const Run& run, const Product& product, const float* bias, int activation) {
  const auto& kernels = elementwise(run.isa);
  const bool plain = !bias && activation == TAMIAS_IDENTITY;
  int64_t block_rows = std::max(kFewestBlockRows, kBlockElements / std::max<int64_t>(product.columns, 1) / 8 * 8);
  // Few rows are better split by columns too, which oneDNN does by itself.
  if (plain || product.rows < run.threads * block_rows) block_rows = product.rows;
  if (block_rows >= product.rows) {
    multiply(product);
    if (plain) return;
    parallel_for(run, product.rows, product.columns, [&](int64_t begin, int64_t end, int) {
      for (int64_t row = begin; row < end; ++row) {
        kernels.bias_activate(activation, bias, product.out + row * product.out_step, product.columns);
      }
    });
    return;
  }
  const int64_t blocks = (product.rows + block_rows - 1) / block_rows;
  // Blocks of one size leave no thread with a short rest.
  const int64_t even_blocks = (blocks + run.threads - 1) / run.threads * run.threads;
  std::atomic<int> failed{0};
#pragma omp parallel for num_threads(run.threads) schedule(static, 1)
  for (int64_t block = 0; block < even_blocks; ++block) {
    const int64_t begin = product.rows * block / even_blocks;
    const int64_t end = product.rows * (block + 1) / even_blocks;
    if (begin == end) continue;
    Product part = product;
    part.x += begin * product.x_step;
    part.out += begin * product.out_step;
    part.rows = end - begin;
    try {
      multiply(part);
    } catch (const Failure&) {
      failed = 1;
    }
    for (int64_t row = 0; row < part.rows; ++row) {
      kernels.bias_activate(activation, bias, part.out + row * part.out_step, part.columns);
    }
  }
  if (failed) fail(TAMIAS_DEVICE, "oneDNN's product failed");
}

}  // namespace

extern "C" int32_t tamias_linear(uint64_t stream, const tamias_tensor* x, const tamias_tensor* weight,
                                 const tamias_tensor* bias, int32_t activation, int32_t accumulate,
                                 const tamias_tensor* out) {
  return run_op("linear", stream, [&](Op& op) {
    const LinearArguments arguments(op, x, weight, bias, activation, accumulate, out);
    const View& in = arguments.x;
    const View& weights = arguments.weight;
    const View& result = arguments.out;
    const int64_t depth = arguments.depth;
    const int64_t columns = arguments.columns;

    Scratch scratch;
    const F32Rows bias_row(arguments.bias, scratch);
    const bool widen = weights.dtype != TAMIAS_F32;
    int64_t panel_columns = columns;
    size_t panel = 0;
    if (widen && depth > 0) {
      panel_columns = std::min(columns, std::max(kFewestPanelColumns, kPanelElements / depth / 64 * 64));
      panel = scratch.floats(panel_columns * depth);
    }
    op.workspace(scratch);
    if (result.empty()) return;

    op.submit([=](const Run& run) {
      bias_row.unpack(run);
      const float* bias_data = bias_row.row(run, 0);
      Batches batches(in, result);
      // Rows of x that repeat or overlap are no matrix to oneDNN.
      if (batches.rows > 1 && batches.x_step < depth) {
        batches.count = row_count(in);
        batches.rows = 1;
      }
      const bool transposed = arguments.weight_transposed;
      for (int64_t first = 0; first < columns; first += panel_columns) {
        const int64_t count = std::min(panel_columns, columns - first);
        Product product{};
        product.weight_transposed = transposed;
        product.weight_step = arguments.weight_step;
        const int64_t offset = transposed ? first : first * arguments.weight_step;
        if (widen && depth > 0) {
          float* wide = Scratch::at<float>(run, panel);
          const uint16_t* narrow = weights.as<uint16_t>() + offset;
          const int64_t length = transposed ? count : depth;
          parallel_for(run, transposed ? depth : count, length, [&](int64_t begin, int64_t end, int) {
            for (int64_t row = begin; row < end; ++row) {
              convert_to_f32(weights.dtype, narrow + row * arguments.weight_step, length, wide + row * length);
            }
          });
          product.weight = wide;
          product.weight_step = length;
        } else {
          product.weight = weights.f32() + offset;
        }
        product.columns = count;
        product.depth = depth;
        product.accumulate = arguments.accumulate;
        product.rows = batches.rows;
        product.x_step = batches.x_step;
        product.out_step = batches.out_step;
        for (int64_t batch = 0; batch < batches.count; ++batch) {
          const bool by_row = batches.rows == 1 && batches.count > 1;
          product.x = in.f32() + (by_row ? row_offset(in, batch) : batch * batches.x_batch);
          product.out = result.f32() + first + (by_row ? row_offset(result, batch) : batch * batches.out_batch);
          if (depth == 0) {
            for (int64_t row = 0; row < product.rows && !product.accumulate; ++row) {
              std::fill_n(product.out + row * product.out_step, count, 0.0f);
            }
            for (int64_t row = 0; row < product.rows; ++row) {
              elementwise(run.isa).bias_activate(activation, bias_data ? bias_data + first : nullptr,
                                                 product.out + row * product.out_step, count);
            }
            continue;
          }
          multiply_and_finish(run, product, bias_data ? bias_data + first : nullptr, activation);
        }
      }
    });
  });
}
