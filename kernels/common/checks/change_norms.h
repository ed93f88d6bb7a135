#pragma once

#include "common/op.h"

namespace tamias {

struct ChangeNormsArguments {
  View now;
  View before;  // optional
  View out;

  ChangeNormsArguments(const Op& op, const tamias_tensor* now, const tamias_tensor* before, const tamias_tensor* out);
};

}  // namespace tamias
