// conv2d by oneDNN, in the blocked layouts it prefers, in bands of rows, so that the copies in those layouts need little
// memory and stay in the caches. Weights are reordered in every call: it costs little beside the convolution, and no copy
// can go stale. A shape is planned once: plans are large, and work may be queued by the thousand.
#include <dnnl.hpp>
#include <omp.h>

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "../common/convert.h"
#include "common/checks/picture.h"

using namespace tamias;

namespace {

using dnnl::memory;

constexpr auto kFloat = memory::data_type::f32;
constexpr auto kAny = memory::format_tag::any;

// Primitives that oneDNN keeps, of all shapes: those of one size of pictures, or two. It would keep 1024, of 40 KB each.
constexpr int kMostPrimitives = 64;

const dnnl::engine& engine() {
  static const dnnl::engine& cpu = []() -> const dnnl::engine& {
    dnnl::set_primitive_cache_capacity(kMostPrimitives);
    return *new dnnl::engine(dnnl::engine::kind::cpu, 0);
  }();
  return cpu;
}

// oneDNN fixes the number of threads when it plans, on the thread that plans.
class PlanningThreads {
 public:
  explicit PlanningThreads(int threads) : before_(omp_get_max_threads()) { omp_set_num_threads(threads); }
  ~PlanningThreads() { omp_set_num_threads(before_); }
  PlanningThreads(const PlanningThreads&) = delete;
  PlanningThreads& operator=(const PlanningThreads&) = delete;

 private:
  const int before_;
};

// A band of rows of a tensor in the caller's layout, and in oneDNN's where that differs.
struct Operand {
  memory::desc ours;
  memory::desc theirs;
  size_t scratch = 0;
  bool differs = false;

  Operand() = default;
  Operand(memory::desc given, memory::desc wanted) : ours(given), theirs(wanted), differs(ours != theirs) {}

  size_t scratch_bytes() const { return differs ? theirs.get_size() : 0; }
  memory inner(char* space, void* data) const { return memory(theirs, engine(), differs ? space + scratch : data); }
  memory outer(void* data) const { return memory(ours, engine(), data); }
};

dnnl::convolution_forward::primitive_desc plan(const memory::dims& source_dims, const memory::dims& weight_dims,
                                               const memory::desc* bias, const memory::dims& destination_dims,
                                               const memory::dims& strides, const memory::dims& before,
                                               const memory::dims& after) {
  const memory::desc source(source_dims, kFloat, kAny);
  const memory::desc weights(weight_dims, kFloat, kAny);
  const memory::desc destination(destination_dims, kFloat, kAny);
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  constexpr auto kind = dnnl::prop_kind::forward_inference;
  constexpr auto algorithm = dnnl::algorithm::convolution_direct;
#if DNNL_VERSION_MAJOR >= 3
  return bias ? dnnl::convolution_forward::primitive_desc(engine(), kind, algorithm, source, weights, *bias,
                                                          destination, strides, before, after, attributes)
              : dnnl::convolution_forward::primitive_desc(engine(), kind, algorithm, source, weights, destination,
                                                          strides, before, after, attributes);
#else
  const dnnl::convolution_forward::desc description =
      bias ? dnnl::convolution_forward::desc(kind, algorithm, source, weights, *bias, destination, strides, before,
                                             after)
           : dnnl::convolution_forward::desc(kind, algorithm, source, weights, destination, strides, before, after);
  return {description, attributes, engine()};
#endif
}

// A band's copies in oneDNN's layouts.
constexpr int64_t kBandBytes = int64_t{32} << 20;

memory::dims dims_of(const View& view) { return memory::dims(view.shape, view.shape + view.rank); }

// Rows of a contiguous picture [batch, channels, height, width].
memory::desc rows_of(const View& view, int64_t rows) {
  const int64_t plane = view.size(2) * view.size(3);
  return memory::desc({view.size(0), view.size(1), rows, view.size(3)}, kFloat,
                      {view.size(1) * plane, plane, view.size(3), 1});
}

float* row_of(const View& view, int64_t row) { return view.f32() + row * view.size(3); }

// What the plan of a band depends on.
struct Window {
  int64_t in_rows, pad_top, pad_bottom, out_rows;
  bool operator==(const Window&) const = default;
};

// One run of oneDNN: rows `out_first` and on of the result, from rows `in_first` and on of the picture.
struct Band {
  int64_t in_first, out_first;
  Window window;
  dnnl::convolution_forward::primitive_desc planned;
  Operand source, kernel, destination;
};

// What is planned once for a shape; all that is queued of it shares it.
class BandedConvolution {
 public:
  explicit BandedConvolution(const ConvolutionArguments& arguments)
      : bias_({arguments.weight.size(0)}, kFloat, memory::format_tag::a) {
    const memory::desc* bias = arguments.bias ? &bias_ : nullptr;
    const View& in = arguments.x;
    const View& weight = arguments.weight;
    const View& out = arguments.out;
    const int64_t row_bytes = 4 * in.size(0) * (arguments.stride * in.size(1) * in.size(3) + out.size(1) * out.size(3));
    const int64_t most_rows = std::clamp<int64_t>(kBandBytes / row_bytes, 1, out.size(2));
    // Bands of nearly equal heights, so that few of them need a plan of their own. None may lie in the padding alone.
    const bool is_whole = std::max(arguments.pad_top, arguments.pad_bottom) >= weight.size(2);
    const int64_t count = is_whole ? 1 : (out.size(2) + most_rows - 1) / most_rows;
    for (int64_t band = 0; band < count; ++band) {
      const int64_t first = out.size(2) * band / count;
      const int64_t rows = out.size(2) * (band + 1) / count - first;
      const int64_t top = first * arguments.stride - arguments.pad_top;
      const int64_t bottom =
          count == 1 ? in.size(2) + arguments.pad_bottom : top + (rows - 1) * arguments.stride + weight.size(2);
      const int64_t in_first = std::max<int64_t>(top, 0);
      const int64_t in_end = std::min<int64_t>(bottom, in.size(2));
      const Window window = {in_end - in_first, in_first - top, bottom - in_end, rows};
      const auto same = std::find_if(bands_.begin(), bands_.end(),
                                     [&](const Band& earlier) { return earlier.window == window; });
      if (same != bands_.end()) {
        bands_.push_back(*same);
        bands_.back().in_first = in_first;
        bands_.back().out_first = first;
        continue;
      }
      Band planned = {in_first, first, window, {}, {}, {}, {}};
      planned.planned =
          plan({in.size(0), in.size(1), window.in_rows, in.size(3)}, dims_of(weight), bias,
               {out.size(0), out.size(1), rows, out.size(3)}, {arguments.stride, arguments.stride},
               {window.pad_top, arguments.pad_left}, {window.pad_bottom, arguments.pad_right});
      planned.source = Operand(rows_of(in, window.in_rows), planned.planned.src_desc());
      planned.kernel = Operand(memory::desc(dims_of(weight), kFloat, memory::format_tag::abcd),
                               planned.planned.weights_desc());
      planned.destination = Operand(rows_of(out, rows), planned.planned.dst_desc());
      bands_.push_back(planned);
    }
    Scratch space;
    take(space, [](Band& band) -> Operand* { return &band.source; });
    take(space, [](Band& band) -> Operand* { return &band.kernel; });
    take(space, [](Band& band) -> Operand* { return &band.destination; });
    size_t most = 0;
    for (const Band& band : bands_) most = std::max(most, band.planned.scratchpad_desc().get_size());
    scratchpad_ = space.take(static_cast<int64_t>(most));
    scratch_bytes_ = static_cast<int64_t>(space.bytes());
  }

  int64_t scratch_bytes() const { return scratch_bytes_; }

  // Of tensors of the shapes it was planned for. bias may be null.
  void run(char* space, const View& in, void* weight, float* bias, const View& out) const {
    dnnl::stream queue(engine());
    const auto reorder = [&](memory from, memory to) { dnnl::reorder(from, to).execute(queue, from, to); };
    for (size_t at = 0; at < bands_.size(); ++at) {
      const auto& [in_first, out_first, window, planned, source, kernel, destination] = bands_[at];
      memory source_memory = source.inner(space, row_of(in, in_first));
      memory kernel_memory = kernel.inner(space, weight);
      memory destination_memory = destination.inner(space, row_of(out, out_first));
      if (source.differs) reorder(source.outer(row_of(in, in_first)), source_memory);
      const bool is_laid_out = at > 0 && bands_[at - 1].kernel.theirs == kernel.theirs;
      if (kernel.differs && !is_laid_out) reorder(kernel.outer(weight), kernel_memory);
      std::unordered_map<int, memory> arguments = {
          {DNNL_ARG_SRC, source_memory},
          {DNNL_ARG_WEIGHTS, kernel_memory},
          {DNNL_ARG_DST, destination_memory},
          {DNNL_ARG_SCRATCHPAD, memory(planned.scratchpad_desc(), engine(), space + scratchpad_)}};
      if (bias) arguments.emplace(DNNL_ARG_BIAS, memory(bias_, engine(), bias));
      dnnl::convolution_forward(planned).execute(queue, arguments);
      if (destination.differs) reorder(destination_memory, destination.outer(row_of(out, out_first)));
    }
    queue.wait();
  }

 private:
  // One piece of scratch memory for an operand of all bands.
  template <class Pick>
  void take(Scratch& space, Pick pick) {
    size_t most = 0;
    for (Band& band : bands_) most = std::max(most, pick(band)->scratch_bytes());
    const size_t offset = space.take(static_cast<int64_t>(most));
    for (Band& band : bands_) pick(band)->scratch = offset;
  }

  const memory::desc bias_;
  std::vector<Band> bands_;
  size_t scratchpad_ = 0;
  int64_t scratch_bytes_ = 0;
};

constexpr size_t kMostPlans = 64;

std::shared_ptr<const BandedConvolution> planned(const ConvolutionArguments& arguments, int threads) {
  static std::mutex mutex;
  static auto& plans = *new std::map<std::vector<int64_t>, std::shared_ptr<const BandedConvolution>>;
  std::vector<int64_t> key = {arguments.stride,   arguments.pad_top,   arguments.pad_bottom, arguments.pad_left,
                              arguments.pad_right, arguments.bias ? 1 : 0, threads};
  for (const View* view : {&arguments.x, &arguments.weight, &arguments.out}) {
    key.insert(key.end(), view->shape, view->shape + view->rank);
  }
  const std::lock_guard lock(mutex);
  const auto found = plans.find(key);
  if (found != plans.end()) return found->second;
  const PlanningThreads planning(threads);
  auto made = std::make_shared<const BandedConvolution>(arguments);
  if (plans.size() >= kMostPlans) plans.clear();
  plans.emplace(std::move(key), made);
  return made;
}

}  // namespace

extern "C" int32_t tamias_conv2d(uint64_t stream, const tamias_tensor* x, const tamias_tensor* weight,
                                 const tamias_tensor* bias, int32_t stride, int32_t pad_top, int32_t pad_bottom,
                                 int32_t pad_left, int32_t pad_right, const tamias_tensor* out) {
  return run_op("conv2d", stream, [&](Op& op) {
    const ConvolutionArguments arguments(op, x, weight, bias, stride, pad_top, pad_bottom, pad_left, pad_right, out);
    const View& in = arguments.x;
    const View& weights = arguments.weight;
    const View& biases = arguments.bias;
    const View& result = arguments.out;
    if (result.empty()) return;

    Scratch scratch;
    const F32Rows bias_row(biases, scratch);
    const bool widen = weights.dtype != TAMIAS_F32;
    const size_t wide_weights = widen ? scratch.floats(weights.elements()) : 0;
    std::shared_ptr<const BandedConvolution> convolution;
    try {
      convolution = planned(arguments, op.device().threads());
    } catch (const dnnl::error& error) {
      fail(TAMIAS_UNSUPPORTED, "oneDNN cannot run x %s with weight %s: %s", in.shape_text().c_str(),
           weights.shape_text().c_str(), error.what());
    }
    const size_t space = scratch.take(convolution->scratch_bytes());
    op.workspace(scratch);

    op.submit([=](const Run& run) {
      bias_row.unpack(run);
      void* weight_data = weights.data;
      if (widen) {
        float* wide = Scratch::at<float>(run, wide_weights);
        convert_to_f32(weights.dtype, weights.data, weights.elements(), wide);
        weight_data = wide;
      }
      float* bias_data = biases ? const_cast<float*>(bias_row.row(run, 0)) : nullptr;
      convolution->run(run.workspace + space, in, weight_data, bias_data, result);
    });
  });
}
