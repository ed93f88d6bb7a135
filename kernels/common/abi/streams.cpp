#include "../failure.h"
#include "../registry.h"
#include "runtime/device.h"
#include "runtime/stream.h"

using namespace tamias;

extern "C" int32_t tamias_stream_create(uint64_t device, uint64_t workspace_bytes, uint64_t* stream) {
  return guarded("stream_create", [&] {
    if (!stream) refuse("stream is NULL");
    const auto owner = find_handle<Device>(device);
    const uint64_t handle = add_handle(std::make_shared<Stream>(owner, workspace_bytes));
    owner->owned().add(handle);
    *stream = handle;
  });
}

extern "C" int32_t tamias_stream_destroy(uint64_t stream) {
  return guarded("stream_destroy", [&] {
    const auto removed = remove_handle<Stream>(stream);
    removed->close();
    removed->device().owned().remove(stream);
  });
}

extern "C" int32_t tamias_stream_synchronize(uint64_t stream) {
  return guarded("stream_synchronize", [&] { find_handle<Stream>(stream)->check(true); });
}

extern "C" int32_t tamias_stream_reserve(uint64_t stream, uint64_t bytes) {
  return guarded("stream_reserve", [&] { find_handle<Stream>(stream)->reserve(bytes); });
}

extern "C" int32_t tamias_stream_workspace_needed(uint64_t stream, uint64_t* bytes) {
  return guarded("stream_workspace_needed", [&] {
    const auto asked = find_handle<Stream>(stream);
    if (!bytes) refuse("bytes is NULL");
    *bytes = asked->workspace_needed();
  });
}
