// mlp_refresh_fc2 by cuBLASLt: the full groups of a batch as one batch of products, a short last group as another.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "../dense/matrix_product.h"
#include "common/checks/mlp.h"

namespace tamias {

class DenseFc2 {
 public:
  // None where types or places do not suit cuBLASLt. `space`: takes the scratch memory it will use.
  static std::optional<DenseFc2> plan(const Op& op, const Fc2Arguments& layer, Scratch& space);

  void run(const Run& run) const;

 private:
  struct Part {
    MatrixProduct product;  // of the first batch
    std::shared_ptr<const ProductPlan> plan;
  };

  explicit DenseFc2(const Fc2Arguments& layer) : layer_(layer) {}

  Part part(int64_t first_group, int64_t groups, int64_t tokens) const;
  bool add(const Op& op, const Part& part);

  Fc2Arguments layer_;
  std::vector<Part> parts_;
  bool packs_bias_ = false;
  size_t bias_ = 0, workspace_ = 0;
};

}  // namespace tamias
