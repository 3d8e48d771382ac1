// matmul_vec for blocks of 256 weights.
#include "kernels/cuda/matmul_vec_kernel.cuh"

namespace hearth::gpu::vec {

template void launch_products<BlockQ2_K>(const Job&, dim3, int64_t, cudaStream_t);
template void launch_products<BlockQ3_K>(const Job&, dim3, int64_t, cudaStream_t);
template void launch_products<BlockQ4_K>(const Job&, dim3, int64_t, cudaStream_t);
template void launch_products<BlockQ5_K>(const Job&, dim3, int64_t, cudaStream_t);
template void launch_products<BlockQ6_K>(const Job&, dim3, int64_t, cudaStream_t);
template void launch_products<BlockIQ4_XS>(const Job&, dim3, int64_t, cudaStream_t);

}  // namespace hearth::gpu::vec
