// In place of the CUDA backend in programs built without it.
#include "kernels/cuda/backend.h"

namespace hearth {

const char* gpu_name() {
  return "cuda";
}

const Gpu& open_gpu() {
  static const Gpu none{nullptr,
                        "this build has no CUDA back end (there was no GPU or no CUDA toolkit when it was built)", ""};
  return none;
}

std::string gpu_refusal() {
  return {};
}

StepCounts gpu_step_counts() {
  return {};
}

void time_next_gpu_step() {}
std::vector<StepSpan> timed_gpu_step() {
  return {};
}

}  // namespace hearth
