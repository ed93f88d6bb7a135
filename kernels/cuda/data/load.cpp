// tensor_load: several threads read pieces of the file into pinned memory, from where the device fetches them while the
// next pieces are read. What must be converted is so on the device, also on its way to host memory.
#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "common/checks/move.h"
#include "convert.h"
#include "runtime/check.h"
#include "staging.h"

using namespace tamias;

namespace {

// One thread copies from the page cache at a fraction of PCIe's speed.
constexpr int64_t kMostReaders = 12;

class Load {
 public:
  Load(const LoadArguments& arguments, const Run& run, size_t wide_offset)
      : arguments_(arguments), run_(run), wide_offset_(wide_offset) {}

  static int64_t piece_elements(const LoadArguments& arguments) {
    return static_cast<int64_t>(kStagingBytes / dtype_size(arguments.file_dtype));
  }
  static int64_t pieces(const LoadArguments& arguments) {
    const int64_t length = piece_elements(arguments);
    return (arguments.out.elements() + length - 1) / length;
  }
  static int readers(const LoadArguments& arguments) {
    const int64_t cores = std::max(1u, std::thread::hardware_concurrency());
    return static_cast<int>(std::min({kMostReaders, cores, pieces(arguments)}));
  }

  void run() {
    std::vector<std::thread> threads;
    const int count = readers(arguments_);
    for (int reader = 1; reader < count; ++reader) {
      try {
        threads.emplace_back([this, reader] { read_pieces(reader); });
      } catch (const std::exception&) {
        break;  // fewer threads do
      }
    }
    read_pieces(0);
    for (std::thread& thread : threads) thread.join();
    if (failure_.status != TAMIAS_OK) throw failure_;
  }

 private:
  void read_pieces(int reader) noexcept {
    try {
      run_.device->enter();
      const int64_t count = pieces(arguments_);
      for (int64_t piece = next_++; piece < count && !stop_; piece = next_++) read_piece(piece, reader);
    } catch (const Failure& failure) {
      stop(failure);
    } catch (const std::exception& exception) {
      stop({TAMIAS_DEVICE, exception.what()});
    }
  }

  void read_piece(int64_t piece, int reader) {
    const int64_t length = piece_elements(arguments_);
    const int64_t first = piece * length;
    const int64_t count = std::min(length, arguments_.out.elements() - first);
    const size_t file_size = dtype_size(arguments_.file_dtype);
    const size_t bytes = static_cast<size_t>(count) * file_size;
    const uint64_t offset = arguments_.offset + static_cast<uint64_t>(first) * file_size;

    const Staging staging = take_staging(*run_.device);
    const char* wrong = arguments_.file->read(offset, staging->data, bytes);
    if (wrong) fail(TAMIAS_IO, "reading '%s': %s", arguments_.file->path(), wrong);

    const View& out = arguments_.out;
    char* to = out.data + first * static_cast<int64_t>(dtype_size(out.dtype));
    const bool same = arguments_.file_dtype == out.dtype;
    char* target = same ? to : run_.workspace + wide_offset_ + static_cast<size_t>(reader) * kStagingBytes;
    // Between two readers' pieces there is nothing to order; a reader's own follow each other on the stream.
    check_cuda(cudaMemcpyAsync(target, staging->data, bytes, cudaMemcpyDefault, run_.stream),
               out.on_host ? "copying to host memory" : "copying to the device");
    check_cuda(cudaEventRecord(staging->read, run_.stream), "recording an event");
    if (same) return;
    check_cuda(convert_elements(target, arguments_.file_dtype, to, out.dtype, count, run_.launch()),
               "converting a tensor");
  }

  void stop(Failure failure) {
    stop_ = true;
    const std::lock_guard lock(mutex_);
    if (failure_.status == TAMIAS_OK) failure_ = std::move(failure);
  }

  const LoadArguments& arguments_;
  const Run& run_;
  const size_t wide_offset_;
  std::atomic<int64_t> next_{0};
  std::atomic<bool> stop_{false};
  std::mutex mutex_;
  Failure failure_{TAMIAS_OK, ""};
};

}  // namespace

extern "C" int32_t tamias_tensor_load(uint64_t stream, const char* path, uint64_t offset, int32_t file_dtype,
                                      const tamias_tensor* out) {
  return run_op("tensor_load", stream, [&](Op& op) {
    const LoadArguments arguments(op, path, offset, file_dtype, out);
    if (arguments.out.empty()) return;
    Scratch scratch;
    const bool same = file_dtype == arguments.out.dtype;
    const size_t wide =
        same ? 0 : scratch.take(static_cast<int64_t>(kStagingBytes) * Load::readers(arguments));
    op.workspace(scratch);
    op.submit([&](const Run& run) { Load(arguments, run, wide).run(); });
  });
}
