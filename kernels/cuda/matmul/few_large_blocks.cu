// Products of few tokens with weights in blocks of 256.
#include "kernels/cuda/matmul/few_kernel.cuh"

namespace hearth::gpu::few {

bool large_blocks(FormatId id, Tiles tiles, const Product& product, const Queue& queue) {
  return with_block(LargeFormats{}, id, [&]<class Block>() { product_of<Block>(tiles, product, queue); });
}

}  // namespace hearth::gpu::few
