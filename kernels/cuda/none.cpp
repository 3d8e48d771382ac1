// Replaces the CUDA backend in programs built without it.
#include "kernels/cuda/backend.h"

namespace hearth {

const char* gpu_name() {
  return "cuda";
}

Gpu new_gpu(int, std::unique_ptr<Device>&) {
  return {.why_not = "this build has no CUDA back end (there was no GPU or no CUDA toolkit when it was built)"};
}

void choose_gpu(int) {}

const Gpu& open_gpu() {
  static std::unique_ptr<Device> device;
  static const Gpu none = new_gpu(0, device);
  return none;
}

}  // namespace hearth
