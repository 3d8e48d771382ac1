// Products of few tokens with plain 16-bit floats, and with F8_E4M3.
#include <cassert>

#include "kernels/cuda/matmul/few_kernel.cuh"

namespace hearth::gpu::few {

bool floats(FormatId id, Tiles tiles, const Product& product, const Queue& queue) {
  return with_block(FloatFormats{}, id, [&]<class Block>() {
    if constexpr (std::is_same_v<Block, BlockF32>) {
      assert(!"F32 stays in float32");
    } else {
      product_of<Block>(tiles, product, queue);
    }
  });
}

}  // namespace hearth::gpu::few
