// A point in a stream's work.
#pragma once

#include <cuda_runtime_api.h>

#include <atomic>
#include <memory>
#include <mutex>

namespace tamias {

class Device;
class Stream;

class Event {
 public:
  explicit Event(std::shared_ptr<Device> device);
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  Device& device() const { return *device_; }
  void record(Stream& stream);
  void hold_back(Stream& stream);  // what is queued there from now on waits for the last record
  bool recorded() const { return recorded_; }
  bool reached();  // also where there was no record
  void wait();
  double seconds_until(Event& end);  // both reached

 private:
  const std::shared_ptr<Device> device_;
  cudaEvent_t event_ = nullptr;
  std::atomic<bool> recorded_ = false;
};

}  // namespace tamias
