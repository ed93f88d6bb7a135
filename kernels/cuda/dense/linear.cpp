// out = activation(x W^T + bias).
#include <algorithm>

#include "common/checks/linear.h"
#include "matrix_product.h"
#include "rows.h"
#include "runtime/check.h"

using namespace tamias;

namespace {

struct Layer {
  Matrix x, weight, out;
  bool weight_transposed;  // rows [depth, columns]
  Finish finish;
  Batches batches;
  int64_t columns, depth;

  explicit Layer(const LinearArguments& arguments)
      : weight_transposed(arguments.weight_transposed),
        finish{Parameter(arguments.bias), arguments.activation, arguments.accumulate},
        batches(arguments.x, arguments.out),
        columns(arguments.columns),
        depth(arguments.depth) {
    x = {arguments.x.data, arguments.x.dtype, batches.x_step};
    weight = {arguments.weight.data, arguments.weight.dtype, arguments.weight_step};
    out = {arguments.out.data, arguments.out.dtype, batches.out_step};
  }

  int64_t rows() const { return batches.rows; }
  int64_t weight_rows() const { return weight_transposed ? depth : columns; }
  int64_t weight_length() const { return weight_transposed ? columns : depth; }
  Matrix x_of(int64_t batch) const { return at(x, batch * batches.x_batch); }
  Matrix out_of(int64_t batch) const { return at(out, batch * batches.out_batch); }

  // Of the addresses of all batches.
  uint32_t alignment(const Matrix& matrix, int64_t batch_stride) const {
    const uint64_t stride = batches.count > 1 ? static_cast<uint64_t>(batch_stride) * dtype_size(matrix.dtype) : 0;
    return alignment_of(reinterpret_cast<uint64_t>(matrix.data) | stride);
  }

  static Matrix at(const Matrix& matrix, int64_t elements) {
    const auto size = static_cast<int64_t>(dtype_size(matrix.dtype));
    return {static_cast<char*>(matrix.data) + elements * size, matrix.dtype, matrix.step};
  }
};

// A part of the scratch memory where an operand's place or type does not suit.
struct Packed {
  bool needed = false;
  size_t offset = 0;
  int32_t dtype = TAMIAS_F32;
  int64_t step = 0;

  Packed() = default;
  Packed(int32_t dtype, int64_t rows, int64_t columns, Scratch& space)
      : needed(true), offset(space.take(rows * columns * static_cast<int64_t>(dtype_size(dtype)))), dtype(dtype),
        step(columns) {}
  Matrix in(char* workspace) const { return {workspace + offset, dtype, step}; }
};

uint64_t address_of(const void* data) { return reinterpret_cast<uint64_t>(data); }

// cuBLASLt's product, with what it can do of the rest.
class Product {
 public:
  Product(const Device& device, const Layer& layer, Scratch& space) : layer_(layer) {
    const bool both_bf16 = layer.x.dtype == TAMIAS_BF16 && layer.weight.dtype == TAMIAS_BF16;
    dtype_ = both_bf16 ? TAMIAS_BF16 : TAMIAS_F32;
    const bool rows_overlap = layer.rows() > 1 && layer.x.step < layer.depth;
    if (layer.x.dtype != dtype_ || rows_overlap) x_ = Packed(dtype_, layer.rows(), layer.depth, space);
    if (layer.weight.dtype != dtype_) weight_ = Packed(dtype_, layer.weight_rows(), layer.weight_length(), space);
    if (!both_bf16 && layer.out.dtype != TAMIAS_F32) out_ = Packed(TAMIAS_F32, layer.rows(), layer.columns, space);

    const Parameter& bias = layer.finish.bias;
    const int32_t activation = layer.finish.activation;
    const bool bias_fits = !bias.data || (bias.is_bf16 == (layer.out.dtype == TAMIAS_BF16) &&
                                          address_of(bias.data) % 16 == 0 &&
                                          (bias.stride == 1 || layer.columns == 1));
    fused_ = !out_.needed && bias_fits && (activation == TAMIAS_IDENTITY || activation == TAMIAS_GELU_TANH);
    plan_ = plan_product(device, product_of(0, nullptr));
    if (!plan_ && fused_) {
      fused_ = false;
      plan_ = plan_product(device, product_of(0, nullptr));
    }
    if (plan_) workspace_ = space.take(static_cast<int64_t>(plan_->workspace_bytes()));
  }

  // Whether cuBLASLt has an algorithm.
  bool possible() const { return plan_ != nullptr; }

  void run(const Run& run) const {
    const int64_t rows = layer_.rows();
    if (weight_.needed) {
      check_cuda(pack_rows(layer_.weight, weight_.in(run.workspace), layer_.weight_rows(), layer_.weight_length(),
                           run.launch()),
                 "converting the weight");
    }
    for (int64_t batch = 0; batch < layer_.batches.count; ++batch) {
      if (x_.needed) {
        check_cuda(pack_rows(layer_.x_of(batch), x_.in(run.workspace), rows, layer_.depth, run.launch()),
                   "converting x");
      }
      plan_->run(product_of(batch, run.workspace), run.stream, run.workspace + workspace_);
      Finish rest = layer_.finish;
      if (!out_.needed) rest.accumulate = false;  // the product did
      const bool finished = fused_ || (!out_.needed && !rest.bias.data && rest.activation == TAMIAS_IDENTITY);
      if (finished) continue;
      const Matrix out = layer_.out_of(batch);
      const Matrix product = out_.needed ? out_.in(run.workspace) : out;
      check_cuda(finish_rows(product, out, rows, layer_.columns, rest, run.launch()), "finishing a product");
    }
  }

 private:
  // Alignments hold for all batches and, as the pieces of the workspace are aligned, for any workspace.
  MatrixProduct product_of(int64_t batch, char* workspace) const {
    const Matrix x = x_.needed ? x_.in(workspace) : layer_.x_of(batch);
    const Matrix weight = weight_.needed ? weight_.in(workspace) : layer_.weight;
    const Matrix out = out_.needed ? out_.in(workspace) : layer_.out_of(batch);
    MatrixProduct product{};
    product.rows = layer_.rows();
    product.columns = layer_.columns;
    product.depth = layer_.depth;
    product.x = x.data;
    product.x_step = std::max(x.step, layer_.depth);
    product.weight = weight.data;
    product.weight_step = std::max(weight.step, layer_.weight_length());
    product.weight_transposed = layer_.weight_transposed;
    product.out = out.data;
    product.out_step = std::max(out.step, layer_.columns);
    product.dtype = dtype_;
    product.out_dtype = out.dtype;
    product.x_alignment = x_.needed ? 256 : layer_.alignment(layer_.x, layer_.batches.x_batch);
    product.weight_alignment = weight_.needed ? 256 : layer_.alignment(layer_.weight, 0);
    product.out_alignment = out_.needed ? 256 : layer_.alignment(layer_.out, layer_.batches.out_batch);
    product.accumulate = layer_.finish.accumulate && !out_.needed;
    product.bias = fused_ ? layer_.finish.bias.data : nullptr;
    product.gelu_tanh = fused_ && layer_.finish.activation == TAMIAS_GELU_TANH;
    return product;
  }

  Layer layer_;
  int32_t dtype_;
  Packed x_, weight_, out_;
  bool fused_ = false;
  std::shared_ptr<const ProductPlan> plan_;
  size_t workspace_ = 0;
};

void run_rows(const Layer& layer, const Run& run) {
  for (int64_t batch = 0; batch < layer.batches.count; ++batch) {
    check_cuda(multiply_rows(layer.x_of(batch), layer.weight, layer.weight_transposed, layer.out_of(batch),
                             layer.rows(), layer.columns, layer.depth, layer.finish, run.launch()),
               "multiplying");
  }
}

}  // namespace

extern "C" int32_t tamias_linear(uint64_t stream, const tamias_tensor* x, const tamias_tensor* weight,
                                 const tamias_tensor* bias, int32_t activation, int32_t accumulate,
                                 const tamias_tensor* out) {
  return run_op("linear", stream, [&](Op& op) {
    const LinearArguments arguments(op, x, weight, bias, activation, accumulate, out);
    if (arguments.out.empty()) return;
    const Layer layer(arguments);
    // A transposed weight's one row is as fast by cuBLASLt.
    if ((layer.rows() == 1 && !layer.weight_transposed) || layer.depth == 0) {
      op.submit([=](const Run& run) { run_rows(layer, run); });
      return;
    }
    Scratch scratch;
    const Product product(op.device(), layer, scratch);
    if (!product.possible()) {
      op.submit([=](const Run& run) { run_rows(layer, run); });
      return;
    }
    op.workspace(scratch);
    op.submit([=](const Run& run) { product.run(run); });
  });
}
