// Tile products of plain 16-bit floats, and of F8_E4M3.
#include "kernels/cuda/matmul/tile_product.cuh"

namespace hearth::gpu {

bool tile_floats(FormatId id, TileShape shape, const TileProduct& product, const Queue& queue) {
  return with_block(FloatFormats{}, id, [&]<class Block>() {
    if constexpr (std::is_same_v<Block, BlockF32>) {
      tile_product_float32(product, queue);
    } else {
      tile_product_of<Block>(shape, product, queue);
    }
  });
}

}  // namespace hearth::gpu
