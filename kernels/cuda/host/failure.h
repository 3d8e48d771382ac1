// The first thing that went wrong on the GPU since somebody last asked.
#pragma once

#include <cuda_runtime.h>

#include <string>

namespace hearth::gpu {

struct Failure {
  cudaError_t error = cudaSuccess;
  std::string what;  // the kernel or call
};

// From any thread (device.h declares it for launches).
void note_failure(cudaError_t error, const char* what);

// Gives it, and forgets it.
Failure take_failure();

}  // namespace hearth::gpu
