#include "kernels/cuda/host/small_moves.h"

#include <algorithm>
#include <cassert>

#include "kernels/cuda/kernel.h"

namespace hearth::gpu {
namespace {

constexpr int kThreads = 256;

struct Words {
  const uint32_t* from[Device::kMostSmallMoves];
  uint32_t* to[Device::kMostSmallMoves];
  int count[Device::kMostSmallMoves];
};

// As many threads as the longest copy has words; each takes a word of every copy.
__global__ void __launch_bounds__(kThreads) copy_words(Words words) {
  launch_dependents();
  wait_for_earlier();
  const int i = int(blockIdx.x) * kThreads + int(threadIdx.x);
  GPU_UNROLL
  for (size_t which = 0; which < Device::kMostSmallMoves; ++which) {  // indexed by what is known: no local memory
    if (i < words.count[which]) words.to[which][i] = words.from[which][i];
  }
}

}  // namespace

void small_moves(const Queue& queue, std::span<const Device::SmallMove> moves) {
  assert(moves.size() <= Device::kMostSmallMoves);
  Words words{};
  int most = 0;
  for (size_t i = 0; i < moves.size(); ++i) {
    assert(moves[i].bytes % sizeof(uint32_t) == 0);
    words.from[i] = static_cast<const uint32_t*>(moves[i].from);
    words.to[i] = static_cast<uint32_t*>(moves[i].to);
    words.count[i] = int(moves[i].bytes / sizeof(uint32_t));
    most = std::max(most, words.count[i]);
  }
  if (most == 0) return;
  launch_early("small_moves", copy_words, dim3(unsigned((most + kThreads - 1) / kThreads)), dim3(kThreads), 0, queue,
               words);
}

bool kernels_wait() {
  constexpr int kFirst = 90;  // what the compiler's front end was told, whatever GPU its result was translated for
  cudaFuncAttributes attributes{};
  if (cudaFuncGetAttributes(&attributes, reinterpret_cast<const void*>(copy_words)) != cudaSuccess) {
    cudaGetLastError();  // there is no code for it, and nothing will be launched
    return false;
  }
  return attributes.ptxVersion >= kFirst;
}

}  // namespace hearth::gpu
