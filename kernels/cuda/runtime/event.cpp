#include "event.h"

#include "check.h"
#include "device.h"
#include "stream.h"

namespace tamias {

Event::Event(std::shared_ptr<Device> device) : device_(std::move(device)) {
  device_->enter();
  check_cuda(cudaEventCreate(&event_), "creating an event");
}

Event::~Event() {
  if (cudaSetDevice(device_->index()) == cudaSuccess) cudaEventDestroy(event_);
  cudaGetLastError();
}

void Event::record(Stream& stream) {
  stream.submit([this](const Run& run) { check_cuda(cudaEventRecord(event_, run.stream), "recording the event"); });
  recorded_ = true;
}

void Event::hold_back(Stream& stream) {
  if (!recorded_) return;
  stream.submit([this](const Run& run) {
    check_cuda(cudaStreamWaitEvent(run.stream, event_, 0), "waiting for the event");
  });
}

bool Event::reached() {
  if (!recorded_) return true;
  device_->enter();
  const cudaError_t state = cudaEventQuery(event_);
  if (state == cudaErrorNotReady) {
    cudaGetLastError();
    return false;
  }
  check_cuda(state, "asking for the event");
  return true;
}

void Event::wait() {
  if (!recorded_) return;
  device_->enter();
  check_cuda(cudaEventSynchronize(event_), "waiting for the event");
}

double Event::seconds_until(Event& end) {
  device_->enter();
  float milliseconds = 0;
  check_cuda(cudaEventElapsedTime(&milliseconds, event_, end.event_), "asking for the time between events");
  return static_cast<double>(milliseconds) / 1000;
}

}  // namespace tamias
