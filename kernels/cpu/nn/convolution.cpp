// conv2d by oneDNN, in the blocked layouts it prefers. Weights are reordered in every call: it costs little beside the
// convolution, and no copy can go stale.
#include <dnnl.hpp>
#include <omp.h>

#include <algorithm>
#include <unordered_map>

#include "../common/convert.h"
#include "common/checks/picture.h"

using namespace tamias;

namespace {

using dnnl::memory;

const dnnl::engine& engine() {
  static const dnnl::engine& cpu = *new dnnl::engine(dnnl::engine::kind::cpu, 0);
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

// A tensor in the caller's layout, and in oneDNN's where that differs.
struct Operand {
  memory::desc ours;
  memory::desc theirs;
  size_t scratch = 0;
  bool differs = false;

  Operand() = default;
  Operand(memory::desc given, memory::desc wanted, Scratch& space) : ours(given), theirs(wanted) {
    differs = ours != theirs;
    if (differs) scratch = space.take(static_cast<int64_t>(theirs.get_size()));
  }
  memory inner(const Run& run, void* data) const {
    return memory(theirs, engine(), differs ? run.workspace + scratch : data);
  }
  memory outer(void* data) const { return memory(ours, engine(), data); }
};

dnnl::convolution_forward::primitive_desc plan(const memory::desc& source, const memory::desc& weights,
                                               const memory::desc* bias, const memory::desc& destination,
                                               const memory::dims& strides, const memory::dims& before,
                                               const memory::dims& after) {
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

    const auto dims_of = [](const View& view) { return memory::dims(view.shape, view.shape + view.rank); };
    constexpr auto kFloat = memory::data_type::f32;
    constexpr auto kAny = memory::format_tag::any;
    Scratch scratch;
    const F32Rows bias_row(biases, scratch);
    const bool widen = weights.dtype != TAMIAS_F32;
    const size_t wide_weights = widen ? scratch.floats(weights.elements()) : 0;
    const memory::desc bias_description({weights.size(0)}, kFloat, memory::format_tag::a);
    dnnl::convolution_forward::primitive_desc planned;
    Operand source, kernel, destination;
    size_t scratchpad = 0;
    const PlanningThreads planning(op.device().threads());
    try {
      planned = plan(memory::desc(dims_of(in), kFloat, kAny), memory::desc(dims_of(weights), kFloat, kAny),
                     biases ? &bias_description : nullptr, memory::desc(dims_of(result), kFloat, kAny),
                     {stride, stride}, {pad_top, pad_left}, {pad_bottom, pad_right});
      constexpr auto kPlain = memory::format_tag::abcd;
      source = Operand(memory::desc(dims_of(in), kFloat, kPlain), planned.src_desc(), scratch);
      kernel = Operand(memory::desc(dims_of(weights), kFloat, kPlain), planned.weights_desc(), scratch);
      destination = Operand(memory::desc(dims_of(result), kFloat, kPlain), planned.dst_desc(), scratch);
      scratchpad = scratch.take(static_cast<int64_t>(planned.scratchpad_desc().get_size()));
    } catch (const dnnl::error& error) {
      fail(TAMIAS_UNSUPPORTED, "oneDNN cannot run x %s with weight %s: %s", in.shape_text().c_str(),
           weights.shape_text().c_str(), error.what());
    }
    op.workspace(scratch);

    op.submit([=](const Run& run) {
      dnnl::stream queue(engine());
      bias_row.unpack(run);
      void* weight_data = weights.data;
      if (widen) {
        float* wide = Scratch::at<float>(run, wide_weights);
        convert_to_f32(weights.dtype, weights.data, weights.elements(), wide);
        weight_data = wide;
      }
      memory source_memory = source.inner(run, in.data);
      memory kernel_memory = kernel.inner(run, weight_data);
      memory destination_memory = destination.inner(run, result.data);
      const auto reorder = [&](memory from, memory to) { dnnl::reorder(from, to).execute(queue, from, to); };
      if (source.differs) reorder(source.outer(in.data), source_memory);
      if (kernel.differs) reorder(kernel.outer(weight_data), kernel_memory);
      std::unordered_map<int, memory> arguments = {
          {DNNL_ARG_SRC, source_memory},
          {DNNL_ARG_WEIGHTS, kernel_memory},
          {DNNL_ARG_DST, destination_memory},
          {DNNL_ARG_SCRATCHPAD, memory(planned.scratchpad_desc(), engine(), run.workspace + scratchpad)}};
      if (biases) {
        float* bias_data = const_cast<float*>(bias_row.row(run, 0));
        arguments.emplace(DNNL_ARG_BIAS, memory(bias_description, engine(), bias_data));
      }
      dnnl::convolution_forward(planned).execute(queue, arguments);
      if (destination.differs) reorder(destination_memory, destination.outer(result.data));
      queue.wait();
    });
  });
}
