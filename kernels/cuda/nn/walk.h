// Walking several tensors of one shape together, on the device: from a unit's number to its place in each tensor.
#pragma once

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstdint>

#include "common/loops.h"

namespace tamias {

// n / divisor for n below 2^31, as a product.
class FastDivisor {
 public:
  FastDivisor() = default;
  explicit FastDivisor(uint32_t divisor) : divisor_(divisor) {
    while ((uint64_t{1} << shift_) < divisor) ++shift_;
    factor_ = static_cast<uint32_t>(((uint64_t{1} << 32) * ((uint64_t{1} << shift_) - divisor)) / divisor + 1);
  }

#ifdef __CUDACC__
  __device__ __forceinline__ uint32_t divide(uint32_t n, uint32_t& rest) const {
    const uint32_t quotient = (__umulhi(n, factor_) + n) >> shift_;
    rest = n - quotient * divisor_;
    return quotient;
  }
#endif

 private:
  uint32_t divisor_ = 1;
  uint32_t factor_ = 1;
  uint32_t shift_ = 0;
};

constexpr int64_t kMostUnits = int64_t{1} << 31;  // of one walk

// Offsets are in elements, or in whatever the nest counts.
template <int kTensors>
struct Walk {
  uint32_t units = 0;
  int rank = 0;  // of the axes around the lines
  FastDivisor length;
  FastDivisor shape[TAMIAS_MAX_RANK];
  int64_t stride[kTensors][TAMIAS_MAX_RANK] = {};
  int64_t step[kTensors] = {};  // from unit to unit of a line

  // `unit`: neighbouring elements of a line that are handled at a time; divides its length.
  Walk(const LoopNest<kTensors>& nest, int64_t unit)
      : units(static_cast<uint32_t>(nest.lines * (nest.length / unit))),
        rank(nest.rank),
        length(static_cast<uint32_t>(nest.length / unit)) {
    for (int axis = 0; axis < rank; ++axis) shape[axis] = FastDivisor(static_cast<uint32_t>(nest.shape[axis]));
    for (int t = 0; t < kTensors; ++t) {
      step[t] = nest.step[t] * unit;
      std::copy_n(nest.stride[t], rank, stride[t]);
    }
  }

#ifdef __CUDACC__
  __device__ __forceinline__ void find(uint32_t unit, int64_t (&offset)[kTensors]) const {
    uint32_t place;
    uint32_t line = length.divide(unit, place);
#pragma unroll
    for (int t = 0; t < kTensors; ++t) offset[t] = place * step[t];
    for (int axis = rank - 1; axis >= 0; --axis) {
      line = shape[axis].divide(line, place);
#pragma unroll
      for (int t = 0; t < kTensors; ++t) offset[t] += place * stride[t][axis];
    }
  }
#endif
};

inline char* element_address(const View& view, int64_t offset) {
  return view.data + offset * static_cast<int64_t>(dtype_size(view.dtype));
}

// Calls body(views) with the views cut along their longest axes, so that each part is below kMostUnits elements.
template <int kTensors, class Body>
void for_each_part(const View (&views)[kTensors], const Body& body) {
  if (views[0].elements() < kMostUnits) return body(views);
  const View& first = views[0];
  const int axis = static_cast<int>(std::max_element(first.shape, first.shape + first.rank) - first.shape);
  const int64_t half = first.shape[axis] / 2;
  View parts[2][kTensors];
  for (int t = 0; t < kTensors; ++t) {
    parts[0][t] = parts[1][t] = views[t];
    parts[0][t].shape[axis] = half;
    parts[1][t].shape[axis] -= half;
    parts[1][t].data = element_address(views[t], half * views[t].stride[axis]);
  }
  for_each_part(parts[0], body);
  for_each_part(parts[1], body);
}

// Whether lines of all tensors can be handled `unit` elements at a time, at addresses that are multiples of `unit`
// elements or of `bytes`. A line may also repeat one element.
template <int kTensors>
bool lines_divide(const LoopNest<kTensors>& nest, const View (&views)[kTensors], int64_t unit, uint64_t bytes) {
  if (nest.length % unit != 0) return false;
  for (int t = 0; t < kTensors; ++t) {
    if (t > 0 && nest.step[t] == 0) continue;
    if (nest.step[t] != 1) return false;
    const uint64_t size = dtype_size(views[t].dtype);
    const uint64_t multiple = std::min<uint64_t>(unit * size, bytes);
    if (reinterpret_cast<uint64_t>(views[t].data) % multiple != 0) return false;
    for (int axis = 0; axis < nest.rank; ++axis) {
      if (static_cast<uint64_t>(nest.stride[t][axis]) * size % multiple != 0) return false;
    }
  }
  return true;
}

}  // namespace tamias
