// matmul_vec for weights from codebooks.
#include "kernels/cuda/matmul/matmul_vec_kernel.cuh"

namespace hearth::gpu::vec {

bool launch_codebooks(FormatId id, const Job& job, dim3 grid, size_t shared_bytes, bool in_shared, const Queue& queue) {
  return launch_one_of(CodebookFormats{}, id, job, grid, shared_bytes, in_shared, queue);
}

}  // namespace hearth::gpu::vec
