// Pinned host memory on its way to the device. Pieces are kept for the next load.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <memory>

namespace tamias {

class Device;

constexpr size_t kStagingBytes = size_t{4} << 20;

struct StagingPiece {
  char* data = nullptr;
  cudaEvent_t read = nullptr;  // when the device has read what was last put there
};

// Gives itself back. Its memory may still be read by the device then: the next owner waits for `read`.
using Staging = std::unique_ptr<StagingPiece, void (*)(StagingPiece*)>;

// Of the current device, which is `device`; free to be written to.
Staging take_staging(const Device& device);

}  // namespace tamias
