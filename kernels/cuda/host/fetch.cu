// Copies in the background: experts on their way from the mapped file into the GPU's memory, while both compute.
//
// A few threads take pieces of the copies in order, carry each into a page-locked slot of their own and queue its copy
// on a stream that computes nothing. Page-locked memory is bounded by the slots, whatever the file's size. Bound by the
// threads' copying (about 10 GB/s each) or by the bus.
#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>

#include "kernels/cuda/host/device_state.h"

namespace hearth::gpu {
namespace {

constexpr size_t kPieceBytes = size_t(2) << 20;
constexpr int kSlots = 2;  // of a thread: one is filled, one emptied
constexpr int kMostThreads = 4;

bool well(cudaError_t error) {
  note_failure(error, "moving experts into the GPU's memory");
  return error == cudaSuccess;
}

class Courier {
 public:
  // Never destroyed: when static objects are, the driver may be gone, and the threads with it.
  static Courier& get() {
    static Courier& courier = *new Courier;
    return courier;
  }

  int64_t take(const std::byte* from, std::byte* to, size_t bytes) {
    const std::lock_guard lock(mutex_);
    const int64_t pieces = int64_t((bytes + kPieceBytes - 1) / kPieceBytes);
    copies_.push_back({from, to, bytes, 0, pieces, pieces, after_});
    settle();
    work_.notify_all();
    return n_settled_ + int64_t(copies_.size());
  }

  void order(cudaStream_t stream) {
    std::shared_ptr<Event> event = std::make_shared<Event>();
    well(cudaEventRecord(event->event, stream));
    const std::lock_guard lock(mutex_);
    after_ = std::move(event);
  }

  bool settled(int64_t number) {
    const std::lock_guard lock(mutex_);
    return n_settled_ >= number;
  }

  void let_wait(cudaStream_t stream, int64_t number) {
    std::unique_lock lock(mutex_);
    issued_.wait(lock, [&] { return issued_up_to(number); });
    if (n_settled_ < number) well(cudaStreamWaitEvent(stream, latest_, 0));
  }

 private:
  struct Event {
    cudaEvent_t event = nullptr;
    Event() { well(cudaEventCreateWithFlags(&event, cudaEventDisableTiming)); }
    ~Event() { cudaEventDestroy(event); }
  };
  struct Copy {
    const std::byte* from;
    std::byte* to;
    size_t bytes, taken;           // from the front
    int64_t unissued, unfinished;  // pieces
    std::shared_ptr<Event> after;  // before which nothing is written
  };
  struct Piece {
    const std::byte* from = nullptr;
    std::byte* to = nullptr;
    size_t bytes = 0;
    int64_t copy = 0;  // its number
  };
  struct Slot {
    std::byte* memory = nullptr;
    cudaEvent_t emptied = nullptr;
    int64_t copy = 0;  // whose piece it holds; 0: nobody's
  };

  Courier() {
    well(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
    well(cudaEventCreateWithFlags(&latest_, cudaEventDisableTiming));
    const int n = std::clamp(int(std::thread::hardware_concurrency()) / 4, 1, kMostThreads);
    for (int i = 0; i < n; ++i) std::thread([this] { work(); }).detach();
  }

  Copy& copy(int64_t number) { return copies_[size_t(number - n_settled_ - 1)]; }
  // Copies are settled in order.
  void settle() {
    while (!copies_.empty() && copies_.front().unfinished == 0) {
      copies_.pop_front();
      ++n_settled_;
    }
  }
  bool issued_up_to(int64_t number) {
    for (int64_t i = n_settled_ + 1; i <= number; ++i)
      if (copy(i).unissued > 0) return false;
    return true;
  }
  void finish_piece(int64_t number) {
    --copy(number).unfinished;
    settle();
  }

  bool next_piece(Piece& piece) {
    for (size_t i = 0; i < copies_.size(); ++i) {
      Copy& c = copies_[i];
      if (c.taken == c.bytes) continue;
      const size_t bytes = std::min(kPieceBytes, c.bytes - c.taken);
      piece = {c.from + c.taken, c.to + c.taken, bytes, n_settled_ + 1 + int64_t(i)};
      c.taken += bytes;
      return true;
    }
    return false;
  }

  // A thread's own slots: what is in them has arrived.
  void empty(Slot& slot) {
    if (slot.copy == 0) return;
    well(cudaEventSynchronize(slot.emptied));
    const std::lock_guard lock(mutex_);
    finish_piece(slot.copy);
    slot.copy = 0;
  }

  void carry(Slot& slot, const Piece& piece) {
    const std::byte* from = piece.from;
    if (slot.memory) {
      std::memcpy(slot.memory, from, piece.bytes);
      from = slot.memory;
    }
    const std::lock_guard lock(mutex_);
    const bool free = !copy(piece.copy).after || well(cudaStreamWaitEvent(stream_, copy(piece.copy).after->event, 0));
    const bool queued = free && well(cudaMemcpyAsync(piece.to, from, piece.bytes, cudaMemcpyHostToDevice, stream_)) &&
                        well(cudaEventRecord(slot.emptied, stream_)) && well(cudaEventRecord(latest_, stream_));
    --copy(piece.copy).unissued;
    if (queued) {
      slot.copy = piece.copy;
    } else {
      finish_piece(piece.copy);  // the failure is noted; nobody waits for ever
    }
    issued_.notify_all();
  }

  void work() {
    Slot slots[kSlots];
    for (Slot& slot : slots) {
      slot.memory = lock_memory(kPieceBytes);
      well(cudaEventCreateWithFlags(&slot.emptied, cudaEventDisableTiming));
    }
    for (int next = 0;; next = (next + 1) % kSlots) {
      Piece piece;
      std::unique_lock lock(mutex_);
      bool found = next_piece(piece);
      if (!found) {
        lock.unlock();
        for (Slot& slot : slots) empty(slot);
        lock.lock();
        work_.wait(lock, [&] { return found = next_piece(piece); });
      }
      lock.unlock();
      empty(slots[next]);
      carry(slots[next], piece);
    }
  }

  std::mutex mutex_;
  std::condition_variable work_, issued_;
  std::deque<Copy> copies_;  // those not settled; the first is number n_settled_ + 1
  int64_t n_settled_ = 0;
  cudaStream_t stream_ = nullptr;
  cudaEvent_t latest_ = nullptr;  // behind all that was issued
  std::shared_ptr<Event> after_;
};

}  // namespace

int64_t fetch(const std::byte* from, std::byte* to, size_t bytes) {
  return Courier::get().take(from, to, bytes);
}

bool fetched(int64_t number) {
  return Courier::get().settled(number);
}

void order_fetch(const Exec& exec) {
  Courier::get().order(stream_of(exec));
}

void await_fetch(const Exec& exec, int64_t number) {
  Courier::get().let_wait(stream_of(exec), number);
}

}  // namespace hearth::gpu
