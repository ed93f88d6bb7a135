#include "event.h"

#include "../common/failure.h"
#include "../common/registry.h"
#include "device.h"
#include "stream.h"

namespace tamias {

void Mark::reach() {
  {
    const std::lock_guard lock(mutex_);
    time_ = std::chrono::steady_clock::now();
    reached_ = true;
  }
  condition_.notify_all();
}

void Mark::wait() {
  std::unique_lock lock(mutex_);
  condition_.wait(lock, [&] { return reached_; });
}

bool Mark::reached() {
  const std::lock_guard lock(mutex_);
  return reached_;
}

std::chrono::steady_clock::time_point Mark::time() {
  const std::lock_guard lock(mutex_);
  return time_;
}

namespace {

// A mark that is dropped with its queue when the process ends counts as reached: nobody may wait for it for ever.
struct Reacher {
  std::shared_ptr<Mark> mark;
  explicit Reacher(std::shared_ptr<Mark> given) : mark(std::move(given)) {}
  ~Reacher() {
    if (!mark->reached()) mark->reach();
  }
};

}  // namespace

void Event::record(Stream& stream) {
  auto mark = std::make_shared<Mark>();
  auto reacher = std::make_shared<Reacher>(mark);
  const std::lock_guard lock(mutex_);
  stream.submit([reacher = std::move(reacher)](const Run&) { reacher->mark->reach(); });
  last_ = std::move(mark);
}

std::shared_ptr<Mark> Event::last() {
  const std::lock_guard lock(mutex_);
  return last_;
}

}  // namespace tamias

using namespace tamias;

extern "C" int32_t tamias_event_create(uint64_t device, uint64_t* event) {
  return guarded("event_create", [&] {
    if (!event) refuse("event is NULL");
    const auto owner = find_handle<Device>(device);
    const uint64_t handle = add_handle(std::make_shared<Event>(owner));
    owner->own(handle);
    *event = handle;
  });
}

extern "C" int32_t tamias_event_destroy(uint64_t event) {
  return guarded("event_destroy", [&] { remove_handle<Event>(event)->device().disown(event); });
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
    auto mark = awaited->last();
    if (!mark || mark->reached()) return;
    queue->submit([mark = std::move(mark)](const Run&) { mark->wait(); });
  });
}

extern "C" int32_t tamias_event_query(uint64_t event) {
  return guarded("event_query", [&] {
    const auto mark = find_handle<Event>(event)->last();
    if (mark && !mark->reached()) fail(TAMIAS_NOT_READY, "the event's last record is not reached yet");
  });
}

extern "C" int32_t tamias_event_synchronize(uint64_t event) {
  return guarded("event_synchronize", [&] {
    const auto mark = find_handle<Event>(event)->last();
    if (mark) mark->wait();
  });
}

extern "C" int32_t tamias_event_elapsed(uint64_t start, uint64_t end, double* seconds) {
  return guarded("event_elapsed", [&] {
    if (!seconds) refuse("seconds is NULL");
    const auto first = find_handle<Event>(start, "start")->last();
    const auto second = find_handle<Event>(end, "end")->last();
    if (!first) refuse("start was never recorded");
    if (!second) refuse("end was never recorded");
    if (!first->reached()) fail(TAMIAS_NOT_READY, "start is not reached yet");
    if (!second->reached()) fail(TAMIAS_NOT_READY, "end is not reached yet");
    *seconds = std::chrono::duration<double>(second->time() - first->time()).count();
  });
}
