#include "common/checks/mlp.h"

using namespace tamias;

extern "C" int32_t tamias_mlp_refresh_fc1(uint64_t stream, const tamias_tensor* x, const tamias_tensor* w1,
                                          const tamias_tensor* b1, int32_t activation,
                                          const tamias_tensor* activations, const tamias_tensor* means) {
  return run_op("mlp_refresh_fc1", stream, [&](Op& op) {
    submit_fc1(op, Fc1Arguments::dense(op, x, w1, b1, activation, activations, means));
  });
}

extern "C" int32_t tamias_mlp_delta_fc1(uint64_t stream, const tamias_tensor* x, const tamias_tensor* w1,
                                        const tamias_tensor* b1, int32_t activation, const tamias_tensor* indices,
                                        const tamias_tensor* counts, const tamias_tensor* activations,
                                        const tamias_tensor* delta) {
  return run_op("mlp_delta_fc1", stream, [&](Op& op) {
    submit_fc1(op, Fc1Arguments::chosen(op, x, w1, b1, activation, indices, counts, activations, delta));
  });
}

extern "C" int32_t tamias_mlp_refresh_fc2(uint64_t stream, const tamias_tensor* activations, const tamias_tensor* w2t,
                                          const tamias_tensor* b2, const tamias_tensor* out) {
  return run_op("mlp_refresh_fc2", stream, [&](Op& op) {
    submit_fc2(op, Fc2Arguments::dense(op, activations, w2t, b2, out));
  });
}

extern "C" int32_t tamias_mlp_delta_fc2(uint64_t stream, const tamias_tensor* delta, const tamias_tensor* indices,
                                        const tamias_tensor* counts, const tamias_tensor* w2t,
                                        const tamias_tensor* out) {
  return run_op("mlp_delta_fc2", stream, [&](Op& op) {
    submit_fc2(op, Fc2Arguments::chosen(op, delta, indices, counts, w2t, out));
  });
}
