#include "kernels/cuda/host/carriers.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <thread>

namespace hearth::gpu {
namespace {

constexpr size_t kSlotBytes = size_t(4) << 20;
constexpr int kSlots = 2;
constexpr int kMostThreads = 4;

}  // namespace

class Carriers::Carrier {
 public:
  Carrier(const Carriers& owner, LockedMemory& locked) : owner_(owner) {
    ok_ = cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking) == cudaSuccess;
    for (Slot& slot : slots_) {
      slot.memory = ok_ ? locked.take(kSlotBytes) : nullptr;
      ok_ = slot.memory && cudaEventCreateWithFlags(&slot.emptied, kBackgroundEvent) == cudaSuccess;
    }
  }
  ~Carrier() {
    for (const Slot& slot : slots_) {
      if (slot.emptied) cudaEventDestroy(slot.emptied);
      if (slot.memory) cudaFreeHost(slot.memory);
    }
    if (stream_) cudaStreamDestroy(stream_);
  }
  bool ok() const { return ok_; }

  bool carry(const std::byte* from, std::byte* to, size_t bytes) {
    Slot& slot = slots_[next_];
    next_ = (next_ + 1) % kSlots;
    if (!owner_.well(cudaEventSynchronize(slot.emptied))) return false;
    std::memcpy(slot.memory, from, bytes);
    return owner_.well(cudaMemcpyAsync(to, slot.memory, bytes, cudaMemcpyHostToDevice, stream_)) &&
           owner_.well(cudaEventRecord(slot.emptied, stream_));
  }
  bool finish() { return owner_.well(cudaStreamSynchronize(stream_)); }

 private:
  struct Slot {
    std::byte* memory = nullptr;
    cudaEvent_t emptied = nullptr;
  };

  const Carriers& owner_;
  cudaStream_t stream_ = nullptr;
  Slot slots_[kSlots];
  int next_ = 0;
  bool ok_ = false;
};

Carriers::Carriers(int gpu, const Queue& queue, LockedMemory& locked) : gpu_(gpu), queue_(queue) {
  const int n = std::clamp(int(std::thread::hardware_concurrency()) - 1, 1, kMostThreads);
  for (int i = 0; i < n; ++i) {
    auto carrier = std::make_unique<Carrier>(*this, locked);
    if (!carrier->ok()) break;
    all_.push_back(std::move(carrier));
  }
}

Carriers::~Carriers() = default;

bool Carriers::upload(const std::byte* from, std::byte* to, size_t bytes) {
  const size_t n_chunks = (bytes + kSlotBytes - 1) / kSlotBytes;
  const size_t n_carriers = std::min(all_.size(), n_chunks);
  if (n_carriers == 0) {  // no page-locked memory: the driver copies by itself, more slowly
    return well(cudaMemcpy(to, from, bytes, cudaMemcpyHostToDevice));
  }
  std::atomic<size_t> next{0};
  std::atomic<bool> ok{true};
  const auto work = [&](Carrier& carrier) {
    if (!well(cudaSetDevice(gpu_))) ok = false;
    for (size_t i; ok && (i = next++) < n_chunks;) {
      const size_t at = i * kSlotBytes;
      if (!carrier.carry(from + at, to + at, std::min(kSlotBytes, bytes - at))) ok = false;
    }
    if (!carrier.finish()) ok = false;
  };
  std::vector<std::thread> others;
  for (size_t i = 1; i < n_carriers; ++i) others.emplace_back(work, std::ref(*all_[i]));
  work(*all_[0]);
  for (std::thread& t : others) t.join();
  return ok;
}

}  // namespace hearth::gpu
