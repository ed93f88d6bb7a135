#include "stream.h"

#include "check.h"
#include "common/failure.h"
#include "device.h"
#include "fault.h"

namespace tamias {
namespace {

const char* fault_text(uint32_t fault) {
  return fault == kWrongMask ? "a mask held a count or an index that is out of range" : "an op found wrong data";
}

}  // namespace

Stream::Stream(std::shared_ptr<Device> device, uint64_t workspace_bytes) : device_(std::move(device)) {
  device_->enter();
  try {
    if (workspace_bytes > 0) {
      workspace_ = static_cast<char*>(allocate_device_memory(workspace_bytes, "of workspace asked for"));
    }
    workspace_bytes_ = workspace_bytes;
    void* word = nullptr;
    check_cuda(cudaHostAlloc(&word, sizeof(uint32_t), cudaHostAllocMapped), "allocating pinned memory");
    fault_ = static_cast<uint32_t*>(word);
    *fault_ = kNoFault;
    void* device_word = nullptr;
    check_cuda(cudaHostGetDevicePointer(&device_word, word, 0), "mapping pinned memory");
    device_fault_ = static_cast<uint32_t*>(device_word);
    check_cuda(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream");
  } catch (...) {
    release();
    throw;
  }
}

Stream::~Stream() { release(); }

void Stream::release() {
  if (cudaSetDevice(device_->index()) != cudaSuccess) return;
  if (stream_) {
    cudaStreamSynchronize(stream_);
    cudaStreamDestroy(stream_);
  }
  if (workspace_) cudaFree(workspace_);
  if (fault_) cudaFreeHost(const_cast<uint32_t*>(fault_));
  cudaGetLastError();
}

void Stream::submit(const Task& task) {
  const std::lock_guard lock(mutex_);
  if (closed_) refuse("the stream has been destroyed");
  device_->enter();
  task(Run{stream_, workspace_, workspace_bytes_, device_->multiprocessors(), device_->capability(), device_fault_,
           device_.get()});
  check_cuda(cudaGetLastError(), "launching");
}

void Stream::write(void* destination, const void* source, uint64_t bytes) {
  // From pageable memory the call returns once the driver has its own copy of the bytes. What is written to or read from
  // may itself be in host memory: the driver knows by the addresses.
  submit([=](const Run& run) {
    check_cuda(cudaMemcpyAsync(destination, source, bytes, cudaMemcpyDefault, run.stream), "copying to the device");
  });
}

void Stream::read(void* destination, const void* source, uint64_t bytes) {
  submit([=](const Run& run) {
    check_cuda(cudaMemcpyAsync(destination, source, bytes, cudaMemcpyDefault, run.stream), "copying from the device");
  });
}

void Stream::wait() {
  // Not under the lock: other threads may queue meanwhile.
  cudaError_t error = cudaSetDevice(device_->index());
  if (error == cudaSuccess) error = cudaStreamSynchronize(stream_);
  if (error == cudaSuccess) return;
  cudaGetLastError();
  const std::lock_guard lock(mutex_);
  if (failure_.empty()) failure_ = cudaGetErrorString(error);
}

void Stream::check(bool clear) {
  wait();
  std::string failure;
  {
    const std::lock_guard lock(mutex_);
    if (failure_.empty() && *fault_ != kNoFault) failure_ = fault_text(*fault_);
    failure = failure_;
    if (clear) {
      failure_.clear();
      *fault_ = kNoFault;
    }
  }
  if (!failure.empty()) fail(TAMIAS_DEVICE, "work queued earlier failed: %s", failure.c_str());
}

void Stream::reserve(uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  if (closed_) refuse("the stream has been destroyed");
  if (bytes <= workspace_bytes_) return;
  device_->enter();
  check_cuda(cudaStreamSynchronize(stream_), "waiting for the stream");
  char* larger = static_cast<char*>(allocate_device_memory(bytes, "of workspace asked for"));
  cudaFree(workspace_);
  workspace_ = larger;
  workspace_bytes_ = bytes;
}

void Stream::need_workspace(uint64_t bytes) {
  const uint64_t have = workspace_bytes_;
  if (bytes <= have) return;
  workspace_needed_ = bytes;
  fail(TAMIAS_WORKSPACE, "needs %llu bytes of workspace, the stream has %llu", (unsigned long long)bytes,
       (unsigned long long)have);
}

void Stream::close() {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  wait();
}

}  // namespace tamias
