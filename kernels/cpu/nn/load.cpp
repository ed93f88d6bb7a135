// tensor_load: from a file straight into device memory, in chunks, without a copy of the whole.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <memory>
#include <new>
#include <string>

#include "../common/convert.h"
#include "common/op.h"
#include "../common/parallel.h"
#include "../runtime/stream.h"

using namespace tamias;

namespace {

constexpr int64_t kChunkElements = 1 << 18;

class File {
 public:
  explicit File(const char* path) : descriptor_(open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    if (descriptor_ < 0) fail(TAMIAS_IO, "cannot open '%s': %s", path, std::strerror(errno));
    struct stat status;
    if (fstat(descriptor_, &status) != 0 || !S_ISREG(status.st_mode)) {
      close(descriptor_);
      fail(TAMIAS_IO, "'%s' is no regular file", path);
    }
    bytes_ = static_cast<uint64_t>(status.st_size);
  }
  ~File() { close(descriptor_); }
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  uint64_t bytes() const { return bytes_; }

  // Null, or what went wrong.
  const char* read(uint64_t offset, void* destination, uint64_t bytes) const {
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

 private:
  int descriptor_;
  uint64_t bytes_ = 0;
};

}  // namespace

extern "C" int32_t tamias_tensor_load(uint64_t stream, const char* path, uint64_t offset, int32_t file_dtype,
                                      const tamias_tensor* out) {
  return run_op("tensor_load", stream, [&](Op& op) {
    const View result = op.output("out", out, kAnyType);
    op.contiguous(result);
    if (!path) refuse("path is NULL");
    const size_t file_size = dtype_size(file_dtype);
    if (file_size == 0) refuse("file_dtype is %d, which does not exist", file_dtype);
    if (file_dtype != result.dtype && !(type_bit(result.dtype) & kWeights)) {
      refuse("out is %s, but the file holds %s, which converts to F32, BF16 or F16 only", dtype_name(result.dtype),
             dtype_name(file_dtype));
    }
    const auto file = std::make_shared<const File>(path);
    const auto elements = result.elements();
    const uint64_t bytes = static_cast<uint64_t>(elements) * file_size;
    if (offset > file->bytes() || bytes > file->bytes() - offset) {
      fail(TAMIAS_IO, "'%s' has %llu bytes, but %llu bytes at offset %llu are wanted", path,
           (unsigned long long)file->bytes(), (unsigned long long)bytes, (unsigned long long)offset);
    }
    if (result.empty()) return;

    const auto problem = std::make_shared<std::string>();
    op.submit([=](const Run& run) {
      const int64_t chunks = (elements + kChunkElements - 1) / kChunkElements;
      const auto out_size = static_cast<int64_t>(dtype_size(result.dtype));
      std::atomic<const char*> failure{nullptr};
      parallel_for(run, chunks, kChunkElements, [&](int64_t begin, int64_t end, int) {
        // The file's bytes, and the same as F32.
        const bool same = file_dtype == result.dtype;
        std::unique_ptr<char[]> raw;
        std::unique_ptr<float[]> wide;
        if (!same) {
          raw.reset(new (std::nothrow) char[static_cast<size_t>(kChunkElements) * file_size]);
          wide.reset(new (std::nothrow) float[kChunkElements]);
          if (!raw || !wide) {
            failure = "no memory for a buffer";
            return;
          }
        }
        for (int64_t chunk = begin; chunk < end && !failure; ++chunk) {
          const int64_t first = chunk * kChunkElements;
          const int64_t count = std::min(kChunkElements, elements - first);
          char* to = result.data + first * out_size;
          const char* wrong = file->read(offset + static_cast<uint64_t>(first) * file_size, same ? to : raw.get(),
                                         static_cast<uint64_t>(count) * file_size);
          if (wrong) {
            failure = wrong;
            return;
          }
          if (same) continue;
          if (result.dtype == TAMIAS_F32) {
            convert_to_f32(file_dtype, raw.get(), count, reinterpret_cast<float*>(to));
          } else {
            convert_to_f32(file_dtype, raw.get(), count, wide.get());
            convert_from_f32(result.dtype, wide.get(), count, to);
          }
        }
      });
      if (failure) *problem = failure.load();
    });
    op.stream().wait();
    if (!problem->empty()) fail(TAMIAS_IO, "reading '%s': %s", path, problem->c_str());
  });
}
