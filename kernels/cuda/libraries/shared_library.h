// NVIDIA's libraries are found when they are first needed: neither the build nor ops that do without them want them.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "runtime/device.h"

namespace tamias {

class SharedLibrary {
 public:
  // Looks for the first of `names` where the loader looks, then in the folders CUDA is usually installed in. Fails with
  // TAMIAS_UNSUPPORTED and says what to install.
  SharedLibrary(const std::vector<std::string>& names, const char* what, const char* package);

  void* symbol(const char* name) const;  // fails with TAMIAS_UNSUPPORTED where the library lacks it

 private:
  void* handle_ = nullptr;  // never closed: kernels of it may be running at exit
  const char* what_;
};

// One of a library's functions, which gives a Result.
template <class Result, class... Arguments>
class Imported {
 public:
  Imported(const SharedLibrary& library, const char* name)
      : function_(reinterpret_cast<Result (*)(Arguments...)>(library.symbol(name))) {}

  Result operator()(Arguments... arguments) const { return function_(arguments...); }

 private:
  Result (*function_)(Arguments...);
};

// What a library keeps for each device, of the process. Never destroyed: it may be in use at exit.
template <class Kept>
class PerDevice {
 public:
  // start(kept) runs on the device's first use, with the device current.
  template <class Start>
  Kept& of(const Device& device, const Start& start) {
    const std::lock_guard lock(mutex_);
    const auto [place, is_new] = kept_.try_emplace(device.index());
    if (!is_new) return place->second;
    try {
      device.enter();
      start(place->second);
    } catch (...) {
      kept_.erase(place);
      throw;
    }
    return place->second;
  }

 private:
  std::mutex mutex_;
  std::map<int, Kept> kept_;
};

}  // namespace tamias
