// How an op is written.
//
//   extern "C" int32_t tamias_multiply(uint64_t stream, const tamias_tensor* a, const tamias_tensor* b,
//                                      const tamias_tensor* out) {
//     return run_op("multiply", stream, [&](Op& op) {
//       const MultiplyArguments arguments(op, a, b, out);                // 1. validate: every check throws a Failure
//       Scratch scratch;                                                 // 2. count the scratch memory
//       const size_t sums = scratch.floats(arguments.a.size(0));
//       op.workspace(scratch);                                           //    (TAMIAS_WORKSPACE if it is too little)
//       if (arguments.out.empty()) return;
//       op.submit([=](const Run& run) {                                  // 3. queue a closure
//         multiply(run, arguments, Scratch::at<float>(run, sums));
//       });
//     });
//   }
//
// The checks of an op stand once, in common/checks; each backend has its own steps 2 and 3. Where several functions end
// in one of those, they stand once as well, in common/abi. "runtime/..." is the
// backend's: cpu/runtime or cuda/runtime, found by the include path.
//
// Failures are thrown (`refuse`, `fail`) and become a status and a sentence at the border; the function's name is put
// before the sentence there, so a sentence starts with the argument: "k has headDim 64, q has 128". Nothing may be
// changed before `submit`. The closure captures Views and numbers by value, never pointers into the caller's structs:
// on the CPU it runs later on the stream's thread, on CUDA at once, and there it only launches kernels on the stream.
// While an Op lives no allocation of the device can be freed, and what is queued holds the memory in place from then
// on. A stream runs in order, so its ops share one workspace.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <shared_mutex>

#include "failure.h"
#include "runtime/device.h"
#include "runtime/dtypes.h"
#include "runtime/run.h"
#include "view.h"

namespace tamias {

class Stream;

// Counts scratch memory piece by piece; each piece is 256-byte aligned.
class Scratch {
 public:
  size_t take(int64_t bytes);  // the piece's offset; fails if it is absurdly large
  size_t floats(int64_t count) { return take(count < kMost ? count * static_cast<int64_t>(sizeof(float)) : kMost + 1); }
  size_t bytes() const { return bytes_; }

  template <class T>
  static T* at(const Run& run, size_t offset) { return reinterpret_cast<T*>(run.workspace + offset); }

 private:
  static constexpr int64_t kMost = int64_t{1} << 46;
  size_t bytes_ = 0;
};

class Op {
 public:
  explicit Op(uint64_t stream);

  // A live, well-formed tensor of one of `types` and of a rank in [rank_from, rank_to]. Outputs may not repeat.
  View input(const char* name, const tamias_tensor* tensor, Types types, int rank_from = 1,
             int rank_to = TAMIAS_MAX_RANK) const;
  View output(const char* name, const tamias_tensor* tensor, Types types, int rank_from = 1,
              int rank_to = TAMIAS_MAX_RANK) const;

  // The same, of any rank, in the device's memory or the host's.
  View input_anywhere(const char* name, const tamias_tensor* tensor, Types types) const;
  View output_anywhere(const char* name, const tamias_tensor* tensor, Types types) const;

  // The same, or an absent View for NULL.
  View optional_input(const char* name, const tamias_tensor* tensor, Types types, int rank_from = 1,
                      int rank_to = TAMIAS_MAX_RANK) const;
  View optional_output(const char* name, const tamias_tensor* tensor, Types types, int rank_from = 1,
                       int rank_to = TAMIAS_MAX_RANK) const;

  // Each accepts absent Views.
  void rows(const View& view) const;        // the last dimension is contiguous
  void contiguous(const View& view) const;
  void shape(const View& view, std::initializer_list<int64_t> expected) const;
  void same_shape(const View& view, const View& like) const;
  void same_dtype(const View& view, const View& like) const;
  void apart(const View& out, std::initializer_list<View> others) const;          // refuses overlap that is certain
  void apart_or_same(const View& out, std::initializer_list<View> others) const;  // "may be in place"

  static void activation(int32_t activation);
  static void epsilon(float value);

  void workspace(const Scratch& scratch) const;
  void workspace(uint64_t bytes) const;
  void submit(Task task) const;

  Stream& stream() const { return *stream_; }
  Device& device() const;

 private:
  View on_device(const View& view) const;
  View view(const char* name, const tamias_tensor* tensor, Types types, int rank_from, int rank_to, bool written) const;

  std::shared_ptr<Stream> stream_;
  std::shared_lock<std::shared_mutex> allocations_lock_;
};

template <class Body>
int32_t run_op(const char* name, uint64_t stream, Body&& body) noexcept {
  return guarded(name, [&] {
    Op op(stream);
    body(op);
  });
}

}  // namespace tamias
