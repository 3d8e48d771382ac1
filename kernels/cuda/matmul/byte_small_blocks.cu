// Byte products of weights in blocks of 32 and of 128 with one scale.
#include "kernels/cuda/matmul/byte_product.cuh"

namespace hearth::gpu {

bool byte_small_blocks(FormatId id, TileShape shape, const TileProduct& product, const Queue& queue) {
  return with_block(SmallFormats{}, id, [&]<class Block>() { byte_product_of<Block>(shape, product, queue); });
}

}  // namespace hearth::gpu
