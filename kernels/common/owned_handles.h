// The streams and events that belong to a device.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <set>
#include <vector>

#include "registry.h"

namespace tamias {

class OwnedHandles {
 public:
  void add(uint64_t handle);  // of a stream or an event; refused, and taken out of the registry, once closed
  void remove(uint64_t handle);

  std::vector<std::shared_ptr<Stream>> streams() const;

  // Takes them all out of the registry for good and gives the streams.
  std::vector<std::shared_ptr<Stream>> close();

 private:
  mutable std::mutex mutex_;
  bool closed_ = false;
  std::set<uint64_t> handles_;
};

}  // namespace tamias
