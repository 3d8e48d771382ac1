// Tile products of weights in blocks of 32 and of 128 with one scale.
#include "kernels/cuda/matmul/tile_product.cuh"

namespace hearth::gpu {

bool tile_small_blocks(FormatId id, TileShape shape, const TileProduct& product, const Queue& queue) {
  return with_block(SmallFormats{}, id, [&]<class Block>() { tile_product_of<Block>(shape, product, queue); });
}

}  // namespace hearth::gpu
