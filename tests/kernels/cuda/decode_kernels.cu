#include "tests/kernels/cuda/decode_kernels.h"

#include <type_traits>

#include "kernels/cuda/matmul/weight_run.cuh"
#include "kernels/cuda/matmul/weight_unit.cuh"

namespace hearth::test {
namespace {

using namespace hearth::gpu;

constexpr int kPad = 16;  // what load_staged may look at

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
  if constexpr (Bits<Block>::kFloats) {
    constexpr int kPerBlock = Block::kElems > 1 ? Block::kElems / 8 : 1 << 30;
    FloatUnit unit;
    U::load(bytes_of_row + u / kPerBlock * int(sizeof(Block)), u % kPerBlock, unit, int(k) - 8 * u);
    for (int i = 0; i < 8 && 8 * u + i < k; ++i) weights[8 * u + i] = unit.w[i] * unit.scale;
  } else {
    constexpr int kPerBlock = Block::kElems / 32;
    ByteUnit unit;
    RowHeader<Block> header;
    header.load(row);
    U::load(header, bytes_of_row + kHeaderBytes<Block> + u / kPerBlock * int(sizeof(Block)), u % kPerBlock, unit);
    float* out = weights + u / kPerBlock * Block::kElems + U::first(u % kPerBlock);
    for (int i = 0; i < 32; ++i) {
      const int h = i / 16, q = int8_t(unit.q[i / 4] >> 8 * (i % 4));
      out[h * U::kDistance + i % 16] =
          unit.scale[h] * (float(q) - U::offset(h)) - (U::kZero == Zero::min ? unit.min[h] : 0.0f);
    }
  }
}

// A thread for each run of 64 weights.
template <class Block>
__global__ void decode_run(const std::byte* row, const std::byte* end, int k, uint16_t* weights, float* of_levels) {
  const int run = int(threadIdx.x + blockIdx.x * blockDim.x), n = min(kRun, k - run * kRun);
  if (n <= 0) return;
  const auto each = [&](int i, const uint4& piece, auto f) {
    const uint32_t words[4] = {piece.x, piece.y, piece.z, piece.w};
    for (int j = 0; j < 8; ++j) f(8 * i + j, uint16_t(words[j / 2] >> 16 * (j % 2)));
  };
  WeightRun<Block> bytes;
  bytes.load(row, end, run, n);
  WeightRun<Block> again = bytes;
  bytes.template decode<Form::weights>(run, n, [&](int i, const uint4& piece) {
    each(i, piece, [&](int at, uint16_t weight) { weights[run * kRun + at] = weight; });
  });
  float levels[kRun];
  again.template decode<Form::levels>(run, n, [&](int i, const uint4& piece) {
    each(i, piece, [&](int at, uint16_t level) {
      levels[at] = std::is_same_v<Block, BlockF16> ? half_to_float(level) : bf16_bits_to_float(level);
    });
  });
  using Scales = RunScales<Block>;
  Scales scales;
  again.scales(run, n, scales);
  for (int i = 0; i < kRun; ++i) {
    if (i > 0 && i % (16 * Scales::kGroups) == 0) scales.advance();
    of_levels[run * kRun + i] = scales.scale[0] * levels[i] - (Scales::kMins ? scales.min[0] : 0.0f);
  }
}

dim3 blocks_for(int64_t threads) {
  return dim3(unsigned((threads + 31) / 32));
}

}  // namespace

void decode_units(FormatId format, const std::byte* row, int64_t k, float* weights) {
  const int bytes = int(format_of(format).bytes(k));
  with_block(format, [&]<class Block>() {
    launch("decode_unit", decode_unit<Block>, blocks_for((k + 7) / 8), dim3(32), size_t(bytes) + 3 * kPad, Queue{}, row,
           bytes, k, weights);
  });
}

void decode_runs(FormatId format, const std::byte* row, const std::byte* end, int64_t k, uint16_t* weights,
                 float* of_levels) {
  with_block(format, [&]<class Block>() {
    if constexpr (!std::is_same_v<Block, BlockF32>) {
      launch("decode_run", decode_run<Block>, blocks_for((k + kRun - 1) / kRun), dim3(32), 0, Queue{}, row, end, int(k),
             weights, of_levels);
    }
  });
}

}  // namespace hearth::test
