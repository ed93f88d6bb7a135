#include "file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "failure.h"

namespace tamias {

File::File(const char* path) : path_(path), descriptor_(open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
  if (descriptor_ < 0) fail(TAMIAS_IO, "cannot open '%s': %s", path, std::strerror(errno));
  struct stat status;
  if (fstat(descriptor_, &status) != 0 || !S_ISREG(status.st_mode)) {
    close(descriptor_);
    fail(TAMIAS_IO, "'%s' is no regular file", path);
  }
  bytes_ = static_cast<uint64_t>(status.st_size);
}

File::~File() { close(descriptor_); }

const char* File::read(uint64_t offset, void* destination, uint64_t bytes) const {
  char* to = static_cast<char*>(destination);
  while (bytes > 0) {
    const ssize_t got = pread(descriptor_, to, bytes, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return std::strerror(errno);
    if (got == 0) return "the file ends too early";
    to += got;
    offset += static_cast<uint64_t>(got);
    bytes -= static_cast<uint64_t>(got);
  }
  return nullptr;
}

}  // namespace tamias
