// A file that tensors are read from.
#pragma once

#include <cstdint>
#include <string>

namespace tamias {

class File {
 public:
  explicit File(const char* path);  // fails with TAMIAS_IO
  ~File();
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  const char* path() const { return path_.c_str(); }
  uint64_t bytes() const { return bytes_; }

  // Null, or what went wrong.
  const char* read(uint64_t offset, void* destination, uint64_t bytes) const;

 private:
  const std::string path_;
  int descriptor_;
  uint64_t bytes_ = 0;
};

}  // namespace tamias
