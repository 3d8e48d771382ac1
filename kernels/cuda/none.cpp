// In place of the CUDA backend where no toolkit was found when the program was built.
#include "kernels/cuda/backend.h"

namespace hearth {

const char* gpu_name() {
  return "cuda";
}

const Gpu& open_gpu() {
  static const Gpu none{nullptr, "this build has no CUDA back end (no CUDA toolkit when it was built)", ""};
  return none;
}

StepCounts gpu_step_counts() {
  return {};
}

}  // namespace hearth
