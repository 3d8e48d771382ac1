// matmul_vec for blocks of 32 and of 128 weights with one scale.
#include "kernels/cuda/matmul_vec_kernel.cuh"

namespace hearth::gpu::vec {

template void launch_products<BlockQ8_0>(const Job&, dim3, int64_t, cudaStream_t);
template void launch_products<BlockQ4_0>(const Job&, dim3, int64_t, cudaStream_t);
template void launch_products<BlockQ4_1>(const Job&, dim3, int64_t, cudaStream_t);
template void launch_products<BlockQ5_0>(const Job&, dim3, int64_t, cudaStream_t);
template void launch_products<BlockQ5_1>(const Job&, dim3, int64_t, cudaStream_t);
template void launch_products<BlockIQ4_NL>(const Job&, dim3, int64_t, cudaStream_t);
template void launch_products<BlockI4_G128>(const Job&, dim3, int64_t, cudaStream_t);

}  // namespace hearth::gpu::vec
