// Products of few tokens with the formats that ik_llama.cpp adds.
#include "kernels/cuda/matmul/few_kernel.cuh"

namespace hearth::gpu::few {

bool iqk(FormatId id, Tiles tiles, const Product& product, const Queue& queue) {
  return with_block(IqkFormats{}, id, [&]<class Block>() { product_of<Block>(tiles, product, queue); });
}

}  // namespace hearth::gpu::few
