// NVIDIA's libraries are found when they are first needed: neither the build nor ops that do without them want them.
#pragma once

#include <string>
#include <vector>

namespace tamias {

class SharedLibrary {
 public:
  // Looks for the first of `names` where the loader looks, then in the folders CUDA is usually installed in. Fails with
  // TAMIAS_UNSUPPORTED and says what to install.
  SharedLibrary(const std::vector<std::string>& names, const char* what, const char* package);

  // Fails with TAMIAS_UNSUPPORTED where the library lacks it.
  template <class Function>
  void find(Function*& function, const char* name) const {
    function = reinterpret_cast<Function*>(symbol(name));
  }

 private:
  void* symbol(const char* name) const;

  void* handle_ = nullptr;  // never closed: kernels of it may be running at exit
  const char* what_;
};

}  // namespace tamias
