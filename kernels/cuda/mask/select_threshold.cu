#include "select_rows.cuh"

namespace tamias {

cudaError_t select_threshold(const SelectProblem& problem, const Launch& launch) {
  return select_rows<SelectRule::threshold>(problem, launch);
}

}  // namespace tamias
