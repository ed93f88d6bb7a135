// A queue of closures with a thread of its own and a workspace that they share, because they run in order.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

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

  void submit(Task task);

  // Copies in stream order. The source of a write may be reused on return; what is read is there after a wait.
  void write(void* destination, const void* source, uint64_t bytes);
  void read(void* destination, const void* source, uint64_t bytes);

  // Until everything queued so far has run.
  void wait();

  // The same, and then fails with TAMIAS_DEVICE if anything failed since the failure was last cleared.
  void check(bool clear);

  // Grows the workspace, or gives it up: 0.
  void reserve(uint64_t bytes);

  // Fails with TAMIAS_WORKSPACE, and remembers the wish, unless the workspace holds that many bytes.
  void need_workspace(uint64_t bytes);
  uint64_t workspace_needed() const { return workspace_needed_; }
  uint64_t workspace_bytes() const { return workspace_bytes_; }

  // Runs what is queued, then ends the thread. Later submissions are refused.
  void close();

  // The process is ending: drops what is queued, lets the running closure finish.
  void abandon();

 private:
  // Runs `task` on this thread if the stream stands idle, and says whether it did.
  bool run_now_if_idle(const std::function<void()>& task);

  // Puts another workspace in place, after the work queued so far.
  void swap_workspace(char* memory, uint64_t bytes);

  void work();
  void stop(bool drop_queue);

  const std::shared_ptr<Device> device_;
  std::mutex mutex_;
  std::condition_variable queued_;
  std::condition_variable finished_;
  std::deque<Task> queue_;
  uint64_t submitted_count_ = 0;
  uint64_t finished_count_ = 0;
  bool closed_ = false;
  std::string failure_;  // the first since it was last cleared

  std::mutex reserve_mutex_;
  char* workspace_ = nullptr;  // the thread's
  std::atomic<uint64_t> workspace_bytes_{0};
  std::atomic<uint64_t> workspace_needed_{0};

  std::mutex close_mutex_;
  std::thread thread_;
};

}  // namespace tamias
