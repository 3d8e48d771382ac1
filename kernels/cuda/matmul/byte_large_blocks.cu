// Byte products of weights in blocks of 256.
#include "kernels/cuda/matmul/byte_product.cuh"

namespace hearth::gpu {

bool byte_large_blocks(FormatId id, TileShape shape, const TileProduct& product, const Queue& queue) {
  return with_block(LargeFormats{}, id, [&]<class Block>() { byte_product_of<Block>(shape, product, queue); });
}

}  // namespace hearth::gpu
