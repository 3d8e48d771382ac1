// matmul_vec for blocks of 32 and of 128 weights with one scale.
#include "kernels/cuda/matmul/matmul_vec_kernel.cuh"

namespace hearth::gpu::vec {

bool launch_small_blocks(FormatId id, const Job& job, dim3 grid, int64_t own_row_bytes, const Queue& queue) {
  return with_block(SmallFormats{}, id,
                    [&]<class Block>() { launch_products<Block>(job, grid, own_row_bytes, queue); });
}

}  // namespace hearth::gpu::vec
