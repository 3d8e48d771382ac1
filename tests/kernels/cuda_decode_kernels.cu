#include "tests/kernels/cuda_decode_kernels.h"

#include "kernels/cuda/decode.cuh"

namespace hearth::test {
namespace {

using namespace hearth::gpu;

constexpr int kPad = 16;  // what load_words may look at

// One block of threads for each unit; the row's bytes lie in shared memory as they do in the file.
template <class Block>
__global__ void decode_unit(const std::byte* row, int bytes, int64_t k, float* weights) {
  GPU_DYNAMIC_SHARED(std::byte, staged);
  const int shift = int(reinterpret_cast<size_t>(row) % 16);
  for (int i = int(threadIdx.x); i < bytes; i += int(blockDim.x)) staged[kPad + shift + i] = row[i];
  __syncthreads();
  using U = Unit<Block>;
  const std::byte* bytes_of_row = staged + kPad + shift;
  const int u = int(threadIdx.x + blockIdx.x * blockDim.x);
  if (u * U::kWeights >= k) return;
  if constexpr (U::kWeights == 8) {
    constexpr int kPerBlock = Block::kElems > 1 ? Block::kElems / 8 : 1 << 30;
    FloatUnit unit;
    U::load(bytes_of_row + u / kPerBlock * int(sizeof(Block)), u % kPerBlock, unit, int(k) - 8 * u);
    for (int i = 0; i < 8 && 8 * u + i < k; ++i) weights[8 * u + i] = unit.w[i] * unit.scale;
  } else {
    constexpr int kPerBlock = Block::kElems / 32;
    ByteUnit unit;
    U::load(bytes_of_row + u / kPerBlock * int(sizeof(Block)), u % kPerBlock, unit);
    float* out = weights + u / kPerBlock * Block::kElems + U::first(u % kPerBlock);
    for (int i = 0; i < 32; ++i) {
      const int h = i / 16, q = int8_t(unit.q[i / 4] >> 8 * (i % 4));
      out[h * U::kDistance + i % 16] =
          unit.scale[h] * float(q - U::kOffset) - (U::kZero == Zero::min ? unit.min[h] : 0.0f);
    }
  }
}

dim3 blocks_for(int64_t threads) {
  return dim3(unsigned((threads + 31) / 32));
}

}  // namespace

void decode_units(FormatId format, const std::byte* row, int64_t k, float* weights) {
  const int bytes = int(format_of(format).bytes(k));
  with_block(format, [&]<class Block>() {
    launch("decode_unit", decode_unit<Block>, blocks_for((k + 7) / 8), dim3(32), size_t(bytes) + 3 * kPad, nullptr, row,
           bytes, k, weights);
  });
}

}  // namespace hearth::test
