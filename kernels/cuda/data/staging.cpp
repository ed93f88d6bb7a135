#include "staging.h"

#include <deque>
#include <map>
#include <mutex>

#include "runtime/check.h"
#include "runtime/device.h"

namespace tamias {
namespace {

struct DevicePiece : StagingPiece {
  int device = 0;
};

// Beyond this many a load waits for the device to have read a piece rather than pin further memory.
constexpr int kMostPieces = 24;

struct DevicePool {
  std::deque<DevicePiece*> free;  // the longest given back first
  int made = 0;
};

struct Pool {
  std::mutex mutex;
  std::map<int, DevicePool> devices;
};

// Never destroyed: the driver frees pinned memory when the process ends.
Pool& pool() {
  static Pool& pool = *new Pool;
  return pool;
}

void give_back(StagingPiece* piece) {
  auto* owned = static_cast<DevicePiece*>(piece);
  const std::lock_guard lock(pool().mutex);
  pool().devices[owned->device].free.push_back(owned);
}

// An event that is not reached yet leaves an error behind that is none.
bool is_read(const StagingPiece& piece) {
  if (cudaEventQuery(piece.read) == cudaSuccess) return true;
  cudaGetLastError();
  return false;
}

// Null: make another.
DevicePiece* take_free(int device) {
  const std::lock_guard lock(pool().mutex);
  DevicePool& pieces = pool().devices[device];
  const bool wait = pieces.made >= kMostPieces;
  if (pieces.free.empty() || (!wait && !is_read(*pieces.free.front()))) {
    ++pieces.made;
    return nullptr;
  }
  DevicePiece* piece = pieces.free.front();
  pieces.free.pop_front();
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
