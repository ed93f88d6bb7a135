#include "shared_library.h"

#include <dlfcn.h>

#include <cstdlib>

#include "common/failure.h"

namespace tamias {
namespace {

std::vector<std::string> folders() {
  std::vector<std::string> folders = {""};
  for (const char* variable : {"CUDA_HOME", "CUDA_PATH"}) {
    const char* root = std::getenv(variable);
    if (root && *root) folders.push_back(std::string(root) + "/lib64/");
  }
  for (const char* usual : {"/usr/local/cuda/lib64/", "/usr/local/cuda/targets/x86_64-linux/lib/", "/opt/cuda/lib64/",
                            "/usr/lib/x86_64-linux-gnu/", "/usr/lib64/"}) {
    folders.push_back(usual);
  }
  return folders;
}

}  // namespace

SharedLibrary::SharedLibrary(const std::vector<std::string>& names, const char* what, const char* package)
    : what_(what) {
  for (const std::string& folder : folders()) {
    for (const std::string& name : names) {
      handle_ = dlopen((folder + name).c_str(), RTLD_NOW | RTLD_LOCAL);
      if (handle_) return;
    }
  }
  fail(TAMIAS_UNSUPPORTED, "%s is needed but %s was not found; install %s, or set CUDA_HOME to where CUDA is", what,
       names.front().c_str(), package);
}

void* SharedLibrary::symbol(const char* name) const {
  void* address = dlsym(handle_, name);
  if (!address) fail(TAMIAS_UNSUPPORTED, "the installed %s has no %s; a newer one is needed", what_, name);
  return address;
}

}  // namespace tamias
