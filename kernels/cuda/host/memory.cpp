#include "kernels/cuda/host/memory.h"

#include <cstdlib>
#include <cstring>

#include "quant/round_up.h"

namespace hearth::gpu {

std::byte* LockedMemory::take(size_t bytes) {
  void* memory = nullptr;
  if (cudaMallocHost(&memory, bytes) == cudaSuccess) return static_cast<std::byte*>(memory);
  cudaGetLastError();
  size_t none = 0;
  refused_bytes_.compare_exchange_strong(none, bytes);
  return nullptr;
}

bool Memory::within(const Stretches& all, const void* p) {
  const auto* at = static_cast<const std::byte*>(p);
  auto i = all.upper_bound(at);
  if (i == all.begin()) return false;
  --i;
  return at < i->first + i->second;
}

std::byte* Memory::allocate(size_t bytes) {
  void* memory = nullptr;
  if (const cudaError_t error = cudaMalloc(&memory, bytes); error != cudaSuccess) {
    cudaGetLastError();  // clears the error: the caller reports that there is too little memory
    if (error != cudaErrorMemoryAllocation) queue_.check(error, "asking for memory of the GPU");
    return nullptr;
  }
  auto* p = static_cast<std::byte*>(memory);
  device_[p] = bytes;
  queue_.check(cudaMemsetAsync(p, 0, bytes, queue_.stream), "clearing memory of the GPU");
  return p;
}

void Memory::free(std::byte* p) {
  device_.erase(p);
  queue_.check(cudaFree(p), "freeing memory of the GPU");
}

std::byte* Memory::allocate_shared(size_t bytes) {
  constexpr size_t kAlign = 64;
  bytes = round_up(bytes, kAlign);
  std::byte* memory = locked_.take(bytes);
  if (!memory) {
    memory = static_cast<std::byte*>(std::aligned_alloc(kAlign, bytes));
    if (!memory) return nullptr;
    pageable_.insert(memory);
  }
  std::memset(memory, 0, bytes);
  shared_[memory] = bytes;
  return memory;
}

void Memory::free_shared(std::byte* p) {
  shared_.erase(p);
  if (pageable_.erase(p)) {
    std::free(p);
  } else {
    queue_.check(cudaFreeHost(p), "freeing memory");
  }
}

}  // namespace hearth::gpu
