// When exit() destroys static objects, oneDNN unmaps the code it generated; a stream that still runs it would crash the
// host. So streams are stopped first. Handlers run in the opposite order of their registration, and oneDNN registers
// its own when a kernel is first wanted: ours is registered again and again, ever more rarely, to come before them.
// Destructors of the exiting thread's own objects run before all handlers; for the main thread that is the surest way.
#include "exit.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <mutex>
#include <set>

#include "common/registry.h"
#include "device.h"

namespace tamias {
namespace {

struct OpenDevices {
  std::mutex mutex;
  std::set<uint64_t> handles;
};

// Never destroyed.
OpenDevices& open_devices() {
  static OpenDevices& devices = *new OpenDevices;
  return devices;
}

void stop_all_streams() {
  std::set<uint64_t> handles;
  {
    const std::lock_guard lock(open_devices().mutex);
    handles = open_devices().handles;
  }
  for (const uint64_t handle : handles) {
    const auto device = std::static_pointer_cast<Device>(registry::find(HandleKind::device, handle));
    if (device) device->abandon();
  }
}

bool on_main_thread() { return syscall(SYS_gettid) == getpid(); }

struct MainThreadEnd {
  bool armed = false;
  ~MainThreadEnd() {
    if (armed) stop_all_streams();
  }
};

}  // namespace

void remember_open_device(uint64_t handle) {
  static thread_local MainThreadEnd main_thread_end;
  if (on_main_thread()) main_thread_end.armed = true;
  const std::lock_guard lock(open_devices().mutex);
  open_devices().handles.insert(handle);
}

void forget_open_device(uint64_t handle) {
  const std::lock_guard lock(open_devices().mutex);
  open_devices().handles.erase(handle);
}

void note_finished_task() {
  static std::atomic<uint64_t> finished{0};
  const uint64_t number = ++finished;
  const bool power_of_2 = (number & (number - 1)) == 0;
  if (number <= 64 || power_of_2) std::atexit(stop_all_streams);
}

}  // namespace tamias
