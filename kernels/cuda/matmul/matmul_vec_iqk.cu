// matmul_vec for weights in the formats that ik_llama.cpp adds.
#include "kernels/cuda/matmul/matmul_vec_kernel.cuh"

namespace hearth::gpu::vec {

bool launch_iqk(FormatId id, const Job& job, dim3 grid, int64_t own_row_bytes, const Queue& queue) {
  return with_block(IqkFormats{}, id, [&]<class Block>() { launch_products<Block>(job, grid, own_row_bytes, queue); });
}

}  // namespace hearth::gpu::vec
