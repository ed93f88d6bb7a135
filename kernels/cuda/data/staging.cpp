#include "staging.h"

#include <map>
#include <mutex>
#include <vector>

#include "runtime/check.h"
#include "runtime/device.h"

namespace tamias {
namespace {

struct DevicePiece : StagingPiece {
  int device = 0;
};

struct Pool {
  std::mutex mutex;
  std::map<int, std::vector<DevicePiece*>> free;
};

// Never destroyed: the driver frees pinned memory when the process ends.
Pool& pool() {
  static Pool& pool = *new Pool;
  return pool;
}

void give_back(StagingPiece* piece) {
  auto* owned = static_cast<DevicePiece*>(piece);
  const std::lock_guard lock(pool().mutex);
  pool().free[owned->device].push_back(owned);
}

DevicePiece* take_free(int device) {
  const std::lock_guard lock(pool().mutex);
  auto& free = pool().free[device];
  if (free.empty()) return nullptr;
  DevicePiece* piece = free.back();
  free.pop_back();
  return piece;
}

DevicePiece* make(int device) {
  auto piece = std::make_unique<DevicePiece>();
  piece->device = device;
  check_cuda(cudaEventCreateWithFlags(&piece->read, cudaEventDisableTiming), "creating an event");
  void* memory = nullptr;
  check_cuda(cudaHostAlloc(&memory, kStagingBytes, cudaHostAllocDefault), "allocating pinned memory");
  piece->data = static_cast<char*>(memory);
  return piece.release();
}

}  // namespace

Staging take_staging(const Device& device) {
  DevicePiece* piece = take_free(device.index());
  if (!piece) piece = make(device.index());
  Staging staging(piece, give_back);
  check_cuda(cudaEventSynchronize(piece->read), "waiting for an earlier load");
  return staging;
}

}  // namespace tamias
