#include "stream.h"

#include <omp.h>

#include <cstring>
#include <exception>

#include "common/failure.h"
#include "common/host_memory.h"
#include "device.h"
#include "exit.h"

namespace tamias {

Stream::Stream(std::shared_ptr<Device> device, uint64_t workspace_bytes) : device_(std::move(device)) {
  if (workspace_bytes > 0) {
    workspace_ = static_cast<char*>(device_->allocate_memory(workspace_bytes, "of workspace asked for"));
  }
  workspace_bytes_ = workspace_bytes;
  try {
    thread_ = std::thread([this] { work(); });
  } catch (...) {
    if (workspace_) free_aligned(workspace_, workspace_bytes);
    fail(TAMIAS_OUT_OF_MEMORY, "the host gives no further thread");
  }
}

Stream::~Stream() {
  stop(false);
  if (workspace_) free_aligned(workspace_, workspace_bytes_);
}

void Stream::submit(Task task) {
  {
    const std::lock_guard lock(mutex_);
    if (closed_) refuse("the stream has been destroyed");
    queue_.push_back(std::move(task));
    ++submitted_count_;
  }
  queued_.notify_one();
}

bool Stream::run_now_if_idle(const std::function<void()>& task) {
  const std::lock_guard lock(mutex_);
  if (closed_) refuse("the stream has been destroyed");
  if (finished_count_ != submitted_count_) return false;
  task();
  return true;
}

void Stream::write(void* destination, const void* source, uint64_t bytes) {
  if (run_now_if_idle([&] { std::memcpy(destination, source, bytes); })) return;
  // Not by the device: the caller holds its allocations.
  std::shared_ptr<void> copy(allocate_aligned(bytes, 0), [bytes](void* memory) {
    if (memory) free_aligned(memory, bytes);
  });
  if (!copy) fail(TAMIAS_OUT_OF_MEMORY, "no room for a copy of %llu bytes", (unsigned long long)bytes);
  std::memcpy(copy.get(), source, bytes);
  submit([=](const Run&) { std::memcpy(destination, copy.get(), bytes); });
}

void Stream::read(void* destination, const void* source, uint64_t bytes) {
  submit([=](const Run&) { std::memcpy(destination, source, bytes); });
}

void Stream::wait() {
  std::unique_lock lock(mutex_);
  const uint64_t goal = submitted_count_;
  finished_.wait(lock, [&] { return finished_count_ >= goal; });
}

void Stream::check(bool clear) {
  wait();
  std::string failure;
  {
    const std::lock_guard lock(mutex_);
    failure = failure_;
    if (clear) failure_.clear();
  }
  if (!failure.empty()) fail(TAMIAS_DEVICE, "work queued earlier failed: %s", failure.c_str());
}

void Stream::reserve(uint64_t bytes) {
  const std::lock_guard lock(reserve_mutex_);
  if (bytes == 0) {
    // Ops that have seen the old size are queued before this; those that come see none.
    const std::unique_lock none_checks(device_->allocations().mutex);
    swap_workspace(nullptr, 0);
  } else {
    if (bytes <= workspace_bytes_) return;
    wait();
    char* larger = static_cast<char*>(device_->allocate_memory(bytes, "of workspace asked for"));
    try {
      swap_workspace(larger, bytes);
    } catch (...) {
      free_aligned(larger, bytes);
      throw;
    }
  }
  wait();
}

void Stream::swap_workspace(char* memory, uint64_t bytes) {
  const uint64_t before = workspace_bytes_;
  // On the stream's own thread: work queued by another thread in the meantime still sees one whole workspace.
  submit([this, memory, bytes, before](const Run&) {
    if (workspace_) free_aligned(workspace_, before);
    workspace_ = memory;
    if (bytes > 0) workspace_bytes_ = bytes;
  });
  if (bytes == 0) workspace_bytes_ = 0;
}

void Stream::need_workspace(uint64_t bytes) {
  const uint64_t have = workspace_bytes_;
  if (bytes <= have) return;
  workspace_needed_ = bytes;
  fail(TAMIAS_WORKSPACE, "needs %llu bytes of workspace, the stream has %llu", (unsigned long long)bytes,
       (unsigned long long)have);
}

void Stream::close() { stop(false); }
void Stream::abandon() { stop(true); }

void Stream::stop(bool drop_queue) {
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
    if (drop_queue) {
      finished_count_ += queue_.size();
      queue_.clear();
    }
  }
  queued_.notify_all();
  finished_.notify_all();
  const std::lock_guard lock(close_mutex_);
  if (thread_.joinable()) thread_.join();
}

void Stream::work() {
  omp_set_dynamic(0);
  omp_set_max_active_levels(1);
  omp_set_num_threads(device_->threads());
  std::unique_lock lock(mutex_);
  for (;;) {
    queued_.wait(lock, [&] { return closed_ || !queue_.empty(); });
    if (queue_.empty()) return;
    Task task = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();

    std::string failure;
    try {
      task(Run{device_->isa(), device_->threads(), workspace_, workspace_bytes_});
    } catch (const Failure& thrown) {
      failure = thrown.sentence;
    } catch (const std::exception& thrown) {
      failure = thrown.what();
    } catch (...) {
      failure = "an unknown failure";
    }
    task = nullptr;  // what it holds goes before anybody is told that it is done

    note_finished_task();
    lock.lock();
    if (!failure.empty() && failure_.empty()) failure_ = std::move(failure);
    ++finished_count_;
    finished_.notify_all();
  }
}

}  // namespace tamias
