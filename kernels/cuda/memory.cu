// Memory of the GPU, and what crosses between it and the host's. Small things cross through page-locked memory, so that
// nobody waits: tokens and positions on the way in, logits on the way out.
#include <cassert>
#include <cstring>
#include <map>
#include <vector>

#include "kernels/cuda/device_state.h"

namespace hearth::gpu {
namespace {

// What was allocated here, by its first byte.
std::map<const std::byte*, size_t>& allocations() {
  static std::map<const std::byte*, size_t> all;
  return all;
}

bool on_device(const void* p) {
  const auto* at = static_cast<const std::byte*>(p);
  auto i = allocations().upper_bound(at);
  if (i == allocations().begin()) return false;
  --i;
  return at < i->first + i->second;
}

std::byte* allocate(size_t bytes) {
  void* memory = nullptr;
  if (cudaMalloc(&memory, bytes) != cudaSuccess) {
    cudaGetLastError();  // the caller says it: not to be reported again
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

// A ring of page-locked slots. A slot is written again when the copy out of it is over.
class SmallUploads {
 public:
  static constexpr size_t kBytes = size_t(64) << 10;

  bool copy(cudaStream_t stream, const void* from, void* to, size_t bytes) {
    if (!memory_ && !open()) return false;
    Slot& slot = slots_[next_];
    std::byte* staged = memory_ + next_ * kBytes;
    next_ = (next_ + 1) % kSlots;
    note_failure(cudaEventSynchronize(slot.copied), "waiting for a copy to the GPU");
    std::memcpy(staged, from, bytes);
    note_failure(cudaMemcpyAsync(to, staged, bytes, cudaMemcpyHostToDevice, stream), "a copy to the GPU");
    note_failure(cudaEventRecord(slot.copied, stream), "a copy to the GPU");
    return true;
  }

 private:
  static constexpr size_t kSlots = 16;
  struct Slot {
    cudaEvent_t copied = nullptr;
  };

  bool open() {
    void* memory = nullptr;
    if (cudaMallocHost(&memory, kSlots * kBytes) != cudaSuccess) return false;
    for (Slot& slot : slots_) {
      if (cudaEventCreateWithFlags(&slot.copied, cudaEventDisableTiming) != cudaSuccess) return false;
    }
    memory_ = static_cast<std::byte*>(memory);
    return true;
  }

  std::byte* memory_ = nullptr;
  Slot slots_[kSlots];
  size_t next_ = 0;
};

// Copies to the host that `finish` hands over.
class Downloads {
 public:
  bool copy(cudaStream_t stream, const void* from, void* to, size_t bytes) {
    if (used_ + bytes > kBytes || (!memory_ && !open())) return false;
    note_failure(cudaMemcpyAsync(memory_ + used_, from, bytes, cudaMemcpyDeviceToHost, stream), "a copy from the GPU");
    waiting_.push_back({memory_ + used_, to, bytes});
    used_ += (bytes + 63) / 64 * 64;
    return true;
  }
  void hand_over() {
    for (const Waiting& w : waiting_) std::memcpy(w.to, w.from, w.bytes);
    waiting_.clear();
    used_ = 0;
  }

 private:
  static constexpr size_t kBytes = size_t(2) << 20;  // a row of logits of any of our models
  struct Waiting {
    const std::byte* from;
    void* to;
    size_t bytes;
  };

  bool open() {
    void* memory = nullptr;
    if (cudaMallocHost(&memory, kBytes) != cudaSuccess) return false;
    memory_ = static_cast<std::byte*>(memory);
    return true;
  }

  std::byte* memory_ = nullptr;
  size_t used_ = 0;
  std::vector<Waiting> waiting_;
};

SmallUploads small_uploads;
Downloads downloads;

}  // namespace

Weight adopt(const Tensor& tensor) {
  const bool stacked = tensor.shape.rank == 3;
  assert(stacked || tensor.shape.rank == 2);
  Weight w;
  w.format = tensor.format;
  w.count = stacked ? tensor.shape.dim[0] : 1;
  w.n = tensor.shape.dim[stacked ? 1 : 0];
  w.k = tensor.shape.cols();
  w.row_bytes = tensor.row_bytes();
  w.matrix_stride = size_t(w.n) * w.row_bytes;
  std::byte* memory = allocate(tensor.bytes());
  if (!memory) return w;
  if (!upload(tensor.data, memory, tensor.bytes())) {
    deallocate(memory);
    return w;
  }
  w.data = memory;
  return w;
}

void discard(const Weight& weight) {
  if (weight.data) deallocate(weight.data);
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
  if (reads_device && writes_device) {
    note_failure(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream), "a copy inside the GPU");
  } else if (writes_device) {
    if (bytes <= SmallUploads::kBytes && small_uploads.copy(stream, from, to, bytes)) return;
    note_failure(cudaStreamSynchronize(stream), "waiting for the GPU");  // it may still read what is overwritten
    upload(static_cast<const std::byte*>(from), static_cast<std::byte*>(to), bytes);
  } else if (reads_device) {
    if (downloads.copy(stream, from, to, bytes)) return;
    note_failure(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream), "a copy from the GPU");
  } else {
    std::memcpy(to, from, bytes);
  }
}

std::string finish(const Exec& exec) {
  note_failure(cudaStreamSynchronize(stream_of(exec)), "waiting for the GPU");
  downloads.hand_over();
  const Failure failure = take_failure();
  if (failure.error == cudaSuccess) return {};
  cudaGetLastError();  // an allocation that failed must not fail the next launch too
  return failure.what + ": " + cudaGetErrorString(failure.error);
}

void memory(size_t* total, size_t* free) {
  note_failure(cudaMemGetInfo(free, total), "asking for the GPU's memory");
}

}  // namespace hearth::gpu
