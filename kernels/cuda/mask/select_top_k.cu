#include "select_rows.cuh"

namespace tamias {

cudaError_t select_top_k(const SelectProblem& problem, const Launch& launch) {
  return select_rows<SelectRule::top_k>(problem, launch);
}

}  // namespace tamias
