// What a queued closure is told when its turn comes on the stream's thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

#include "../common/isa.h"

namespace tamias {

struct Run {
  Isa isa;
  int threads;         // an op may use this many, its own included
  char* workspace;     // the stream's scratch memory, 256-byte aligned; valid until the closure returns
  size_t workspace_bytes;
};

using Task = std::function<void(const Run&)>;

}  // namespace tamias
