// A point in a stream's work.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>

namespace tamias {

class Device;
class Stream;

// One record of an event. Streams that wait for it keep it, so that recording the event again moves nobody's mark.
class Mark {
 public:
  void reach();
  void wait();
  bool reached();
  std::chrono::steady_clock::time_point time();  // meaningful once reached

 private:
  std::mutex mutex_;
  std::condition_variable condition_;
  bool reached_ = false;
  std::chrono::steady_clock::time_point time_;
};

class Event {
 public:
  explicit Event(std::shared_ptr<Device> device) : device_(std::move(device)) {}

  Device& device() const { return *device_; }
  void record(Stream& stream);
  void hold_back(Stream& stream);  // what is queued there from now on waits for the last record
  bool recorded() { return last() != nullptr; }
  bool reached();  // also where there was no record
  void wait();
  double seconds_until(Event& end);  // both reached

 private:
  std::shared_ptr<Mark> last();  // null: never recorded

  const std::shared_ptr<Device> device_;
  std::mutex mutex_;
  std::shared_ptr<Mark> last_;
};

}  // namespace tamias
