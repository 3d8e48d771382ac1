// Memory of the GPU, and what crosses between it and the host's. Small things cross through page-locked memory, so that
// nobody waits: tokens and positions on the way in, logits on the way out. What crosses in every layer, between the
// experts here and those on the host, lies in page-locked memory all the time.
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>
#include <vector>

#include "kernels/cuda/host/device_state.h"

namespace hearth::gpu {
namespace {

// Stretches of memory, by their first byte.
using Stretches = std::map<const std::byte*, size_t>;

bool within(const Stretches& all, const void* p) {
  const auto* at = static_cast<const std::byte*>(p);
  auto i = all.upper_bound(at);
  if (i == all.begin()) return false;
  --i;
  return at < i->first + i->second;
}

// What was allocated here.
Stretches& allocations() {
  static Stretches all;
  return all;
}
bool on_device(const void* p) {
  return within(allocations(), p);
}

// Of the host's memory, what both sides use.
Stretches& shared_buffers() {
  static Stretches all;
  return all;
}
bool is_shared(const void* p) {
  return within(shared_buffers(), p);
}

// Those that could not be page-locked.
std::set<const std::byte*>& pageable_buffers() {
  static std::set<const std::byte*> all;
  return all;
}
std::atomic<size_t> refused_bytes = 0;  // of the first thing that could not be

std::byte* allocate(size_t bytes) {
  void* memory = nullptr;
  if (const cudaError_t error = cudaMalloc(&memory, bytes); error != cudaSuccess) {
    cudaGetLastError();  // the caller says that there is too little: not to be reported again
    if (error != cudaErrorMemoryAllocation) note_failure(error, "asking for memory of the GPU");
    return nullptr;
  }
  auto* p = static_cast<std::byte*>(memory);
  allocations()[p] = bytes;
  return p;
}

void deallocate(const std::byte* p) {
  forget_steps();
  allocations().erase(p);
  note_failure(cudaFree(const_cast<std::byte*>(p)), "freeing memory of the GPU");
}

// Page-locked memory that small copies cross through, taken piece after piece. All of it is free again when somebody
// has waited for the GPU, which every step does at its end; only hundreds of slices of a prompt in one call wait here.
class Staging {
 public:
  // Null: too many bytes, or no memory can be page-locked.
  std::byte* take(cudaStream_t stream, size_t bytes) {
    if (bytes > kBytes || (!memory_ && !open())) return nullptr;
    if (used_ + bytes > kBytes) {
      note_failure(cudaStreamSynchronize(stream), "waiting for the GPU");
      settle();
    }
    std::byte* const piece = memory_ + used_;
    used_ += (bytes + 63) / 64 * 64;
    return piece;
  }
  // Is to be copied to the host's memory when the GPU has written it.
  void hand_over_later(const std::byte* piece, void* to, size_t bytes) { waiting_.push_back({piece, to, bytes}); }
  // The GPU has done everything.
  void settle() {
    for (const Waiting& w : waiting_) std::memcpy(w.to, w.piece, w.bytes);
    waiting_.clear();
    used_ = 0;
  }

 private:
  static constexpr size_t kBytes = size_t(4) << 20;  // some rows of logits of any of our models
  struct Waiting {
    const std::byte* piece;
    void* to;
    size_t bytes;
  };

  bool open() {
    if (!refused_) memory_ = lock_memory(kBytes);
    refused_ = !memory_;
    return memory_ != nullptr;
  }

  std::byte* memory_ = nullptr;
  bool refused_ = false;
  size_t used_ = 0;
  std::vector<Waiting> waiting_;
};

Staging staging;

}  // namespace

std::byte* lock_memory(size_t bytes) {
  void* memory = nullptr;
  if (cudaMallocHost(&memory, bytes) == cudaSuccess) return static_cast<std::byte*>(memory);
  cudaGetLastError();
  size_t none = 0;
  refused_bytes.compare_exchange_strong(none, bytes);
  return nullptr;
}

bool locking_refused() {
  return refused_bytes > 0;
}

// Without page-locked memory the driver copies through some of its own, and waits.
std::byte* shared_buffer(size_t bytes) {
  constexpr size_t kAlign = 64;
  bytes = (bytes + kAlign - 1) / kAlign * kAlign;
  std::byte* memory = lock_memory(bytes);
  if (!memory) {
    memory = static_cast<std::byte*>(std::aligned_alloc(kAlign, bytes));
    if (!memory) return nullptr;
    pageable_buffers().insert(memory);
  }
  std::memset(memory, 0, bytes);
  shared_buffers()[memory] = bytes;
  return memory;
}

void release_shared(std::byte* buffer, size_t) {
  if (!buffer) return;
  forget_steps();
  note_failure(cudaStreamSynchronize(compute_stream), "waiting for the GPU");
  shared_buffers().erase(buffer);
  if (pageable_buffers().erase(buffer)) {
    std::free(buffer);
  } else {
    note_failure(cudaFreeHost(buffer), "freeing memory");
  }
}

std::byte* buffer(size_t bytes) {
  std::byte* memory = allocate(bytes);
  if (memory) note_failure(cudaMemsetAsync(memory, 0, bytes, compute_stream), "clearing memory of the GPU");
  return memory;
}

void release(std::byte* buffer, size_t) {
  if (buffer) deallocate(buffer);
}

void move(const Exec& exec, const void* from, void* to, size_t bytes) {
  const cudaStream_t stream = stream_of(exec);
  const bool reads_device = on_device(from), writes_device = on_device(to);
  if (!reads_device && !writes_device) {
    std::memcpy(to, from, bytes);
  } else if (reads_device && writes_device) {
    note_failure(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream), "a copy inside the GPU");
  } else if (is_shared(writes_device ? from : to)) {
    const bool in = writes_device;
    note_failure(cudaMemcpyAsync(to, from, bytes, in ? cudaMemcpyHostToDevice : cudaMemcpyDeviceToHost, stream),
                 in ? "a copy to the GPU" : "a copy from the GPU");
  } else if (std::byte* const piece = staging.take(stream, bytes); piece && writes_device) {
    std::memcpy(piece, from, bytes);
    note_failure(cudaMemcpyAsync(to, piece, bytes, cudaMemcpyHostToDevice, stream), "a copy to the GPU");
  } else if (piece) {
    note_failure(cudaMemcpyAsync(piece, from, bytes, cudaMemcpyDeviceToHost, stream), "a copy from the GPU");
    staging.hand_over_later(piece, to, bytes);
  } else if (writes_device) {
    note_failure(cudaStreamSynchronize(stream), "waiting for the GPU");  // it may still read what is overwritten
    upload(static_cast<const std::byte*>(from), static_cast<std::byte*>(to), bytes);
  } else {
    note_failure(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream), "a copy from the GPU");
  }
}

std::string finish(const Exec& exec) {
  note_failure(cudaStreamSynchronize(stream_of(exec)), "waiting for the GPU");
  staging.settle();
  const Failure failure = take_failure();
  if (failure.error == cudaSuccess) return {};
  cudaGetLastError();  // an allocation that failed must not fail the next launch too
  return failure.what + ": " + cudaGetErrorString(failure.error);
}

void memory(size_t* total, size_t* free) {
  note_failure(cudaMemGetInfo(free, total), "asking for the GPU's memory");
}

}  // namespace hearth::gpu

std::string hearth::gpu_refusal() {
  if (!gpu::locking_refused()) return {};
  return "the system refused to lock " + std::to_string(gpu::refused_bytes) +
         " bytes of memory in place: copies to and from the GPU are slower, and no step is recorded";
}
