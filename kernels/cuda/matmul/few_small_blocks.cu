// Products of few tokens with weights in blocks of 32 or 128.
#include "kernels/cuda/matmul/few_kernel.cuh"

namespace hearth::gpu::few {

bool small_blocks(FormatId id, Tiles tiles, const Product& product, const Queue& queue) {
  return with_block(SmallFormats{}, id, [&]<class Block>() { product_of<Block>(tiles, product, queue); });
}

}  // namespace hearth::gpu::few
