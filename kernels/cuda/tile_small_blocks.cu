// Tile products of weights in blocks of 32.
#include "kernels/cuda/tile_product.cuh"

namespace hearth::gpu {

template void tile_product_of<BlockQ4_0>(TileShape, const TileProduct&, cudaStream_t);
template void tile_product_of<BlockQ4_1>(TileShape, const TileProduct&, cudaStream_t);
template void tile_product_of<BlockQ5_0>(TileShape, const TileProduct&, cudaStream_t);
template void tile_product_of<BlockQ5_1>(TileShape, const TileProduct&, cudaStream_t);
template void tile_product_of<BlockQ8_0>(TileShape, const TileProduct&, cudaStream_t);
template void tile_product_of<BlockIQ4_NL>(TileShape, const TileProduct&, cudaStream_t);

}  // namespace hearth::gpu
