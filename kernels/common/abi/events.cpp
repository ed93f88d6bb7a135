#include "../failure.h"
#include "../registry.h"
#include "runtime/device.h"
#include "runtime/event.h"
#include "runtime/stream.h"

using namespace tamias;

extern "C" int32_t tamias_event_create(uint64_t device, uint64_t* event) {
  return guarded("event_create", [&] {
    if (!event) refuse("event is NULL");
    const auto owner = find_handle<Device>(device);
    const uint64_t handle = add_handle(std::make_shared<Event>(owner));
    owner->owned().add(handle);
    *event = handle;
  });
}

extern "C" int32_t tamias_event_destroy(uint64_t event) {
  return guarded("event_destroy", [&] { remove_handle<Event>(event)->device().owned().remove(event); });
}

extern "C" int32_t tamias_event_record(uint64_t event, uint64_t stream) {
  return guarded("event_record", [&] {
    const auto marked = find_handle<Event>(event);
    const auto queue = find_handle<Stream>(stream);
    if (&marked->device() != &queue->device()) refuse("event and stream belong to different devices");
    marked->record(*queue);
  });
}

extern "C" int32_t tamias_event_wait(uint64_t event, uint64_t stream) {
  return guarded("event_wait", [&] {
    const auto awaited = find_handle<Event>(event);
    const auto queue = find_handle<Stream>(stream);
    if (&awaited->device() != &queue->device()) refuse("event and stream belong to different devices");
    awaited->hold_back(*queue);
  });
}

extern "C" int32_t tamias_event_query(uint64_t event) {
  return guarded("event_query", [&] {
    if (!find_handle<Event>(event)->reached()) fail(TAMIAS_NOT_READY, "the event's last record is not reached yet");
  });
}

extern "C" int32_t tamias_event_synchronize(uint64_t event) {
  return guarded("event_synchronize", [&] { find_handle<Event>(event)->wait(); });
}

extern "C" int32_t tamias_event_elapsed(uint64_t start, uint64_t end, double* seconds) {
  return guarded("event_elapsed", [&] {
    if (!seconds) refuse("seconds is NULL");
    const auto first = find_handle<Event>(start, "start");
    const auto second = find_handle<Event>(end, "end");
    if (!first->recorded()) refuse("start was never recorded");
    if (!second->recorded()) refuse("end was never recorded");
    if (!first->reached()) fail(TAMIAS_NOT_READY, "start is not reached yet");
    if (!second->reached()) fail(TAMIAS_NOT_READY, "end is not reached yet");
    if (&first->device() != &second->device()) refuse("start and end belong to different devices");
    *seconds = first->seconds_until(*second);
  });
}
