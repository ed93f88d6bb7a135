// The dtypes that this backend takes.
#pragma once

#include "common/view.h"

namespace tamias {

constexpr Types kActivations = kF32;
constexpr Types kWeights = kF32 | type_bit(TAMIAS_BF16) | type_bit(TAMIAS_F16);

}  // namespace tamias
