#include "owned_handles.h"

namespace tamias {
namespace {

std::vector<std::shared_ptr<Stream>> streams_among(const std::set<uint64_t>& handles) {
  std::vector<std::shared_ptr<Stream>> streams;
  for (const uint64_t handle : handles) {
    auto stream = std::static_pointer_cast<Stream>(registry::find(HandleKind::stream, handle));
    if (stream) streams.push_back(std::move(stream));
  }
  return streams;
}

}  // namespace

void OwnedHandles::add(uint64_t handle) {
  {
    const std::lock_guard lock(mutex_);
    if (!closed_) {
      handles_.insert(handle);
      return;
    }
  }
  registry::remove(HandleKind::event, handle);
  registry::remove(HandleKind::stream, handle);
  refuse("the device has been closed");
}

void OwnedHandles::remove(uint64_t handle) {
  const std::lock_guard lock(mutex_);
  handles_.erase(handle);
}

std::vector<std::shared_ptr<Stream>> OwnedHandles::streams() const {
  std::set<uint64_t> handles;
  {
    const std::lock_guard lock(mutex_);
    handles = handles_;
  }
  return streams_among(handles);
}

std::vector<std::shared_ptr<Stream>> OwnedHandles::close() {
  std::set<uint64_t> handles;
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    handles.swap(handles_);
  }
  auto streams = streams_among(handles);
  for (const uint64_t handle : handles) {
    registry::remove(HandleKind::event, handle);
    registry::remove(HandleKind::stream, handle);
  }
  return streams;
}

}  // namespace tamias
