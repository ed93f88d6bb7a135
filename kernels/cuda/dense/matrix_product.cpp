#include "matrix_product.h"

#include <library_types.h>

#include <array>
#include <map>
#include <mutex>
#include <utility>

#include "../libraries/cublas_lt.h"
#include "../runtime/device.h"
#include "tamias.h"

namespace tamias {
namespace {

namespace lt = cublas_lt;

// What NVIDIA recommends for Hopper.
constexpr uint64_t kMostWorkspace = uint64_t{32} << 20;
constexpr size_t kMostPlans = 4096;
constexpr int kCandidates = 4;

int32_t cuda_type(int32_t dtype) { return dtype == TAMIAS_BF16 ? CUDA_R_16BF : CUDA_R_32F; }

lt::Epilogue epilogue_of(const MatrixProduct& product) {
  if (product.gelu_tanh) return product.bias ? lt::kGeluBias : lt::kGelu;
  return product.bias ? lt::kBias : lt::kPlain;
}

// cuBLASLt's matrices are column-major: it sees out^T = W x^T, where W needs the transposition unless it is given
// transposed.
class LtPlan final : public ProductPlan {
 public:
  LtPlan(const Device& device, const MatrixProduct& product) : handle_(lt::handle_of(device)) {
    const int32_t type = cuda_type(product.dtype);
    lt::check(library_.descriptor_create(&descriptor_, lt::kComputeF32, CUDA_R_32F), "planning a product");
    set(lt::kTransposeA, product.weight_transposed ? lt::kAsIs : lt::kTransposed);
    set(lt::kTransposeB, product.x_transposed ? lt::kTransposed : lt::kAsIs);
    set(lt::kEpilogue, epilogue_of(product));
    set_bias(product.bias);
    layout(&weight_, type, product.columns, product.depth, product.weight_step, !product.weight_transposed);
    layout(&x_, type, product.depth, product.rows, product.x_step, product.x_transposed);
    layout(&out_, cuda_type(product.out_dtype), product.columns, product.rows, product.out_step, false);
    if (product.count > 1) {
      repeat(weight_, product.count, 0);
      repeat(x_, product.count, product.x_distance);
      repeat(out_, product.count, product.out_distance);
    }
    find_algorithm(product);
  }

  ~LtPlan() override {
    if (descriptor_) library_.descriptor_destroy(descriptor_);
    for (const lt::Layout layout : {weight_, x_, out_}) {
      if (layout) library_.layout_destroy(layout);
    }
  }

  bool found() const { return found_; }
  size_t workspace_bytes() const override { return chosen_.workspace_bytes; }

  void run(const MatrixProduct& product, cudaStream_t stream, char* workspace) const override {
    const float one = 1;
    const float beta = product.accumulate ? 1.0f : 0.0f;
    const std::lock_guard lock(mutex_);  // the descriptor holds the bias
    set_bias(product.bias);
    lt::check(library_.multiply(handle_, descriptor_, &one, product.weight, weight_, product.x, x_, &beta, product.out,
                                out_, product.out, out_, &chosen_.algorithm, workspace, chosen_.workspace_bytes,
                                stream),
              "multiplying");
  }

 private:
  void set(int32_t attribute, int32_t value) const {
    lt::check(library_.descriptor_set(descriptor_, attribute, &value, sizeof value), "planning a product");
  }

  void set_bias(const void* bias) const {
    if (!bias || bias == bias_) return;
    lt::check(library_.descriptor_set(descriptor_, lt::kBiasPointer, &bias, sizeof bias), "planning a product");
    bias_ = bias;
  }

  void layout(lt::Layout* layout, int32_t type, int64_t rows, int64_t columns, int64_t leading, bool transposed) {
    if (transposed) std::swap(rows, columns);
    lt::check(library_.layout_create(layout, type, static_cast<uint64_t>(rows), static_cast<uint64_t>(columns),
                                     leading),
              "planning a product");
  }

  void repeat(lt::Layout layout, int64_t count, int64_t distance) {
    const int32_t matrices = static_cast<int32_t>(count);
    lt::check(library_.layout_set(layout, lt::kMatrices, &matrices, sizeof matrices), "planning a product");
    lt::check(library_.layout_set(layout, lt::kDistance, &distance, sizeof distance), "planning a product");
  }

  void find_algorithm(const MatrixProduct& product) {
    lt::Preference preference = nullptr;
    lt::check(library_.preference_create(&preference), "planning a product");
    const auto prefer = [&](int32_t attribute, const auto& value) {
      library_.preference_set(preference, attribute, &value, sizeof value);
    };
    prefer(lt::kMostWorkspace, kMostWorkspace);
    prefer(lt::kReductionSchemes, lt::kReduceInF32);
    prefer(lt::kAlignmentA, product.weight_alignment);
    prefer(lt::kAlignmentB, product.x_alignment);
    prefer(lt::kAlignmentC, product.out_alignment);
    prefer(lt::kAlignmentD, product.out_alignment);
    lt::Heuristic candidates[kCandidates];
    int32_t count = 0;
    const int32_t status = library_.heuristics(handle_, descriptor_, weight_, x_, out_, out_, preference, kCandidates,
                                               candidates, &count);
    library_.preference_destroy(preference);
    for (int32_t i = 0; status == 0 && i < count && !found_; ++i) {
      if (candidates[i].status != 0) continue;
      chosen_ = candidates[i];
      found_ = true;
    }
  }

  const lt::Library& library_ = lt::library();
  const lt::Handle handle_;
  lt::Descriptor descriptor_ = nullptr;
  lt::Layout weight_ = nullptr;
  lt::Layout x_ = nullptr;
  lt::Layout out_ = nullptr;
  lt::Heuristic chosen_{};
  bool found_ = false;
  mutable std::mutex mutex_;
  mutable const void* bias_ = nullptr;
};

using Key = std::array<int64_t, 19>;

Key key_of(const Device& device, const MatrixProduct& p) {
  return {device.index(),  p.rows,       p.columns,          p.depth,           p.x_step,
          p.weight_step,   p.out_step,   p.dtype,            p.out_dtype,       p.accumulate,
          epilogue_of(p),  p.x_alignment, p.weight_alignment, p.out_alignment,   p.x_transposed,
          p.weight_transposed, p.count,  p.x_distance,       p.out_distance};
}

}  // namespace

std::shared_ptr<const ProductPlan> plan_product(const Device& device, const MatrixProduct& product) {
  static std::mutex mutex;
  static auto& plans = *new std::map<Key, std::shared_ptr<const ProductPlan>>;
  const std::lock_guard lock(mutex);
  const Key key = key_of(device, product);
  const auto known = plans.find(key);
  if (known != plans.end()) return known->second;
  device.enter();
  auto plan = std::make_shared<LtPlan>(device, product);
  if (plans.size() >= kMostPlans) plans.clear();
  return plans[key] = plan->found() ? plan : nullptr;
}

}  // namespace tamias
