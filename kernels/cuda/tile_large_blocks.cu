// Tile products of weights in blocks of 256.
#include "kernels/cuda/tile_product.cuh"

namespace hearth::gpu {

template void tile_product_of<BlockQ2_K>(TileShape, const TileProduct&, cudaStream_t);
template void tile_product_of<BlockQ3_K>(TileShape, const TileProduct&, cudaStream_t);
template void tile_product_of<BlockQ4_K>(TileShape, const TileProduct&, cudaStream_t);
template void tile_product_of<BlockQ5_K>(TileShape, const TileProduct&, cudaStream_t);
template void tile_product_of<BlockQ6_K>(TileShape, const TileProduct&, cudaStream_t);
template void tile_product_of<BlockIQ4_XS>(TileShape, const TileProduct&, cudaStream_t);

}  // namespace hearth::gpu
