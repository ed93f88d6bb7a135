// A file that tensors are read from.
#pragma once

#include <cstdint>

namespace tamias {

class File {
 public:
  explicit File(const char* path);  // fails with TAMIAS_IO
  ~File();
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  uint64_t bytes() const { return bytes_; }

  // Null, or what went wrong.
  const char* read(uint64_t offset, void* destination, uint64_t bytes) const;

 private:
  int descriptor_;
  uint64_t bytes_ = 0;
};

}  // namespace tamias
