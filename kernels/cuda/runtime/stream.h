// A CUDA stream with a workspace that its ops share, because they run in order, and a word that its kernels write to
// when they find wrong data.
#pragma once

#include <cuda_runtime_api.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "run.h"

namespace tamias {

class Device;

class Stream {
 public:
  Stream(std::shared_ptr<Device> device, uint64_t workspace_bytes);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  Device& device() const { return *device_; }

  // Calls `task` now; its kernels run in stream order.
  void submit(const Task& task);

  // Copies in stream order. The source of a write may be reused on return; what is read is there after a wait.
  void write(void* destination, const void* source, uint64_t bytes);
  void read(void* destination, const void* source, uint64_t bytes);

  // Until everything queued so far has run.
  void wait();

  // The same, and then fails with TAMIAS_DEVICE if anything failed since the failure was last cleared.
  void check(bool clear);

  void reserve(uint64_t bytes);

  // Fails with TAMIAS_WORKSPACE, and remembers the wish, unless the workspace holds that many bytes.
  void need_workspace(uint64_t bytes);
  uint64_t workspace_needed() const { return workspace_needed_; }
  uint64_t workspace_bytes() const { return workspace_bytes_; }

  // Waits for what is queued. Later submissions are refused.
  void close();

 private:
  void release();

  const std::shared_ptr<Device> device_;
  std::mutex mutex_;
  cudaStream_t stream_ = nullptr;
  bool closed_ = false;
  std::string failure_;  // the first since it was last cleared
  volatile uint32_t* fault_ = nullptr;  // in host memory that the device can write to
  uint32_t* device_fault_ = nullptr;    // the same for the device

  char* workspace_ = nullptr;
  std::atomic<uint64_t> workspace_bytes_{0};
  std::atomic<uint64_t> workspace_needed_{0};
};

}  // namespace tamias
