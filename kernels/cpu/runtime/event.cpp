#include "event.h"

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

void Event::hold_back(Stream& stream) {
  auto mark = last();
  if (!mark || mark->reached()) return;
  stream.submit([mark = std::move(mark)](const Run&) { mark->wait(); });
}

bool Event::reached() {
  const auto mark = last();
  return !mark || mark->reached();
}

void Event::wait() {
  const auto mark = last();
  if (mark) mark->wait();
}

double Event::seconds_until(Event& end) {
  return std::chrono::duration<double>(end.last()->time() - last()->time()).count();
}

}  // namespace tamias
