#include "select_rows.cuh"

namespace tamias {

cudaError_t select_mass(const SelectProblem& problem, const Launch& launch) {
  return select_rows<SelectRule::mass>(problem, launch);
}

}  // namespace tamias
