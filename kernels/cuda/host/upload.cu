// Large copies from pageable memory. The copy engine reads page-locked memory only, and locking a mapped file's pages
// costs more than copying them, so a few threads carry the bytes over into page-locked slots, each with a slot that is
// being filled and one that is being emptied. Bounded by the threads' copying (about 10 GB/s each) or by the bus.
#include <algorithm>
#include <atomic>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "kernels/cuda/host/device_state.h"

namespace hearth::gpu {
namespace {

constexpr size_t kSlotBytes = size_t(4) << 20;
constexpr int kSlots = 2;
constexpr int kMostThreads = 4;

bool well(cudaError_t error) {
  note_failure(error, "loading weights into the GPU's memory");
  return error == cudaSuccess;
}

class Carrier {
 public:
  Carrier() {
    ok_ = cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking) == cudaSuccess;
    for (Slot& slot : slots_) {
      slot.memory = ok_ ? lock_memory(kSlotBytes) : nullptr;
      ok_ = slot.memory && cudaEventCreateWithFlags(&slot.emptied, cudaEventDisableTiming) == cudaSuccess;
    }
  }
  bool ok() const { return ok_; }

  bool carry(const std::byte* from, std::byte* to, size_t bytes) {
    Slot& slot = slots_[next_];
    next_ = (next_ + 1) % kSlots;
    if (!well(cudaEventSynchronize(slot.emptied))) return false;
    std::memcpy(slot.memory, from, bytes);
    return well(cudaMemcpyAsync(to, slot.memory, bytes, cudaMemcpyHostToDevice, stream_)) &&
           well(cudaEventRecord(slot.emptied, stream_));
  }
  bool finish() { return well(cudaStreamSynchronize(stream_)); }

 private:
  struct Slot {
    std::byte* memory = nullptr;
    cudaEvent_t emptied = nullptr;
  };

  cudaStream_t stream_ = nullptr;
  Slot slots_[kSlots];
  int next_ = 0;
  bool ok_ = false;
};

// Made at the first copy, and kept: page-locking is slow. Never destroyed: when static objects are, the driver may be
// gone.
const std::vector<std::unique_ptr<Carrier>>& carriers() {
  static const auto* const all = [] {
    const int n = std::clamp(int(std::thread::hardware_concurrency()) - 1, 1, kMostThreads);
    auto* made = new std::vector<std::unique_ptr<Carrier>>;
    for (int i = 0; i < n; ++i) {
      made->push_back(std::make_unique<Carrier>());
      if (!made->back()->ok()) {
        made->pop_back();
        break;
      }
    }
    return made;
  }();
  return *all;
}

}  // namespace

bool upload(const std::byte* from, std::byte* to, size_t bytes) {
  const size_t n_chunks = (bytes + kSlotBytes - 1) / kSlotBytes;
  const size_t n_carriers = std::min(carriers().size(), n_chunks);
  if (n_carriers == 0) {  // no page-locked memory: the driver's own way, slower
    return well(cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice));
  }
  std::atomic<size_t> next{0};
  std::atomic<bool> ok{true};
  const auto work = [&](Carrier& carrier) {
    for (size_t i; ok && (i = next++) < n_chunks;) {
      const size_t at = i * kSlotBytes;
      if (!carrier.carry(from + at, to + at, std::min(kSlotBytes, bytes - at))) ok = false;
    }
    if (!carrier.finish()) ok = false;
  };
  std::vector<std::thread> others;
  for (size_t i = 1; i < n_carriers; ++i) others.emplace_back(work, std::ref(*carriers()[i]));
  work(*carriers()[0]);
  for (std::thread& t : others) t.join();
  return ok;
}

}  // namespace hearth::gpu
