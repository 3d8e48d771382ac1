// Tile products of weights from codebooks.
#include "kernels/cuda/matmul/tile_product.cuh"

namespace hearth::gpu {

bool tile_codebooks(FormatId id, TileShape shape, const TileProduct& product, const Queue& queue) {
  return with_block(CodebookFormats{}, id, [&]<class Block>() { tile_product_of<Block>(shape, product, queue); });
}

}  // namespace hearth::gpu
