// matmul_vec for float formats.
#include "kernels/cuda/matmul_vec_kernel.cuh"

namespace hearth::gpu::vec {

template void launch_products<BlockF32>(const Job&, dim3, int64_t, cudaStream_t);
template void launch_products<BlockF16>(const Job&, dim3, int64_t, cudaStream_t);
template void launch_products<BlockBF16>(const Job&, dim3, int64_t, cudaStream_t);
template void launch_products<BlockF8_E4M3>(const Job&, dim3, int64_t, cudaStream_t);

}  // namespace hearth::gpu::vec
