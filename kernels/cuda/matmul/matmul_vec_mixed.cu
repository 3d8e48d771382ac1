// matmul_vec for matrices of different formats in one launch.
#include "kernels/cuda/matmul/matmul_vec_kernel.cuh"

namespace hearth::gpu::vec {

void launch_mixed(const Job& job, dim3 grid, size_t shared_bytes, bool in_shared, const Queue& queue) {
  launch_formats<MixedFormats>(job, grid, shared_bytes, in_shared, queue);
}

}  // namespace hearth::gpu::vec
