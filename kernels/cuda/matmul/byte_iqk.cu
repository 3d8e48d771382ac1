// Byte products of weights in the formats that ik_llama.cpp adds.
#include "kernels/cuda/matmul/byte_product.cuh"

namespace hearth::gpu {

bool byte_iqk(FormatId id, TileShape shape, const TileProduct& product, const Queue& queue) {
  return with_block(IqkFormats{}, id, [&]<class Block>() { byte_product_of<Block>(shape, product, queue); });
}

}  // namespace hearth::gpu
