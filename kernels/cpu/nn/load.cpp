// tensor_load: from a file straight into device memory, in chunks, without a copy of the whole.
#include <algorithm>
#include <atomic>
#include <memory>
#include <new>
#include <string>

#include "../common/convert.h"
#include "../common/parallel.h"
#include "../runtime/stream.h"
#include "common/checks/move.h"

using namespace tamias;

namespace {

constexpr int64_t kChunkElements = 1 << 18;

}  // namespace

extern "C" int32_t tamias_tensor_load(uint64_t stream, const char* path, uint64_t offset, int32_t file_dtype,
                                      const tamias_tensor* out) {
  return run_op("tensor_load", stream, [&](Op& op) {
    const LoadArguments arguments(op, path, offset, file_dtype, out);
    const View& result = arguments.out;
    const auto& file = arguments.file;
    const size_t file_size = dtype_size(file_dtype);
    const int64_t elements = result.elements();
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
