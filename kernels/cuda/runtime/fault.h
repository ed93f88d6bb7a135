// What kernels may find wrong in data that only the device can see. The first to be written stands until the stream is
// synchronised.
#pragma once

#include <cstdint>

namespace tamias {

enum Fault : uint32_t { kNoFault = 0, kWrongMask = 1 };

}  // namespace tamias
