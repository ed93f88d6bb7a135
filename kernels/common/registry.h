// Live handles. A handle names a kind, a slot and the slot's generation, so that a stale or foreign number is found
// out. It fits in 53 bits and survives a JavaScript number.
#pragma once

#include <cstdint>
#include <memory>

#include "failure.h"

namespace tamias {

class Device;
class Stream;
class Event;

enum class HandleKind : uint8_t { device = 1, stream = 2, event = 3 };

template <class T>
struct HandleTraits;
template <>
struct HandleTraits<Device> {
  static constexpr HandleKind kind = HandleKind::device;
  static constexpr const char* name = "device";
};
template <>
struct HandleTraits<Stream> {
  static constexpr HandleKind kind = HandleKind::stream;
  static constexpr const char* name = "stream";
};
template <>
struct HandleTraits<Event> {
  static constexpr HandleKind kind = HandleKind::event;
  static constexpr const char* name = "event";
};

namespace registry {

uint64_t add(HandleKind kind, std::shared_ptr<void> object);
std::shared_ptr<void> find(HandleKind kind, uint64_t handle);    // null: no such live object
std::shared_ptr<void> remove(HandleKind kind, uint64_t handle);  // null: no such live object

}  // namespace registry

template <class T>
uint64_t add_handle(std::shared_ptr<T> object) {
  return registry::add(HandleTraits<T>::kind, std::move(object));
}

template <class T>
std::shared_ptr<T> find_handle(uint64_t handle, const char* argument = HandleTraits<T>::name) {
  auto object = std::static_pointer_cast<T>(registry::find(HandleTraits<T>::kind, handle));
  if (!object) refuse("%s is %llu, which is no live %s", argument, (unsigned long long)handle, HandleTraits<T>::name);
  return object;
}

template <class T>
std::shared_ptr<T> remove_handle(uint64_t handle) {
  auto object = std::static_pointer_cast<T>(registry::remove(HandleTraits<T>::kind, handle));
  if (!object) {
    refuse("%s is %llu, which is no live %s", HandleTraits<T>::name, (unsigned long long)handle,
           HandleTraits<T>::name);
  }
  return object;
}

}  // namespace tamias
