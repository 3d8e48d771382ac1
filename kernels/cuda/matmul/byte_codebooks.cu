// Byte products of weights from codebooks.
#include "kernels/cuda/matmul/byte_product.cuh"

namespace hearth::gpu {

bool byte_codebooks(FormatId id, TileShape shape, const TileProduct& product, const Queue& queue) {
  return with_block(CodebookFormats{}, id, [&]<class Block>() { byte_product_of<Block>(shape, product, queue); });
}

}  // namespace hearth::gpu
