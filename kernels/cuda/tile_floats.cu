// Tile products of weights in blocks of 128, and of plain 16-bit floats.
#include "kernels/cuda/tile_product.cuh"

namespace hearth::gpu {

template void tile_product_of<BlockF8_E4M3>(TileShape, const TileProduct&, cudaStream_t);
template void tile_product_of<BlockI4_G128>(TileShape, const TileProduct&, cudaStream_t);
template void tile_product_of<BlockF16>(TileShape, const TileProduct&, cudaStream_t);
template void tile_product_of<BlockBF16>(TileShape, const TileProduct&, cudaStream_t);

}  // namespace hearth::gpu
