// Products of few tokens with weights from codebooks.
#include "kernels/cuda/matmul/few_kernel.cuh"

namespace hearth::gpu::few {

bool codebooks(FormatId id, Tiles tiles, const Product& product, const Queue& queue) {
  return with_block(CodebookFormats{}, id, [&]<class Block>() { product_of<Block>(tiles, product, queue); });
}

}  // namespace hearth::gpu::few
