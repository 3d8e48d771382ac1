#include "kernels/cuda/host/courier.h"

#include <algorithm>
#include <cstring>

namespace hearth::gpu {
namespace {

// A small piece is 10 us on a bus of 25 GB/s; what threads do for each weighs more then.
constexpr size_t kPieceBytes = size_t(2) << 20, kSmallPieceBytes = size_t(256) << 10;
constexpr int kSlots = 2;  // slots of a thread: one is filled while the other is copied to the GPU
constexpr int kMostThreads = 4;

}  // namespace

Courier::Event::Event(const Courier& courier) {
  courier.well(cudaEventCreateWithFlags(&event_, kBackgroundEvent));
}

Courier::Courier(int gpu, const Queue& queue, LockedMemory& locked)
    : gpu_(gpu), queue_(queue), locked_(locked), piece_bytes_(kPieceBytes) {
  well(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
  latest_ = std::make_unique<Event>(*this);
  const int n = std::clamp(int(std::thread::hardware_concurrency()) / 4, 1, kMostThreads);
  for (int i = 0; i < n; ++i) threads_.emplace_back([this] { work(); });
}

Courier::~Courier() {
  {
    const std::lock_guard lock(mutex_);
    leaving_ = true;
    work_.notify_all();
  }
  threads_.clear();
  cudaStreamDestroy(stream_);
}

int64_t Courier::take(const std::byte* from, std::byte* to, size_t bytes) {
  const std::lock_guard lock(mutex_);
  const int64_t pieces = int64_t((bytes + piece_bytes_ - 1) / piece_bytes_);
  copies_.push_back({from, to, bytes, 0, piece_bytes_, pieces, pieces, after_});
  settle();
  work_.notify_all();
  return n_settled_ + int64_t(copies_.size());
}

void Courier::take_small_pieces(bool small) {
  const std::lock_guard lock(mutex_);
  piece_bytes_ = small ? kSmallPieceBytes : kPieceBytes;
}

bool Courier::settled(int64_t number) {
  const std::lock_guard lock(mutex_);
  return n_settled_ >= number;
}

void Courier::order() {
  auto event = std::make_shared<Event>(*this);
  well(cudaEventRecord(event->get(), queue_.stream));
  const std::lock_guard lock(mutex_);
  after_ = std::move(event);
}

void Courier::await(int64_t number) {
  std::unique_lock lock(mutex_);
  issued_.wait(lock, [&] { return issued_up_to(number); });
  if (n_settled_ < number) well(cudaStreamWaitEvent(queue_.stream, latest_->get(), 0));
}

// Copies are settled in order, a copy when all its pieces have arrived.
void Courier::settle() {
  while (!copies_.empty() && copies_.front().unfinished == 0) {
    copies_.pop_front();
    ++n_settled_;
  }
}

bool Courier::issued_up_to(int64_t number) {
  for (int64_t i = n_settled_ + 1; i <= number; ++i)
    if (copy(i).unissued > 0) return false;
  return true;
}

void Courier::finish_piece(int64_t number) {
  --copy(number).unfinished;
  settle();
}

bool Courier::next_piece(Piece& piece) {
  for (size_t i = 0; i < copies_.size(); ++i) {
    Copy& c = copies_[i];
    if (c.taken == c.bytes) continue;
    const size_t bytes = std::min(c.piece_bytes, c.bytes - c.taken);
    piece = {c.from + c.taken, c.to + c.taken, bytes, n_settled_ + 1 + int64_t(i)};
    c.taken += bytes;
    return true;
  }
  return false;
}

// Waits until the piece in a slot of this thread has arrived, and counts it as finished.
void Courier::empty(Slot& slot) {
  if (slot.copy == 0) return;
  well(cudaEventSynchronize(slot.emptied));
  const std::lock_guard lock(mutex_);
  finish_piece(slot.copy);
  slot.copy = 0;
}

void Courier::carry(Slot& slot, const Piece& piece) {
  const std::byte* from = piece.from;
  if (slot.memory) {
    std::memcpy(slot.memory, from, piece.bytes);
    from = slot.memory;
  }
  const std::lock_guard lock(mutex_);
  const bool free = !copy(piece.copy).after || well(cudaStreamWaitEvent(stream_, copy(piece.copy).after->get(), 0));
  const bool queued = free && well(cudaMemcpyAsync(piece.to, from, piece.bytes, cudaMemcpyHostToDevice, stream_)) &&
                      well(cudaEventRecord(slot.emptied, stream_)) && well(cudaEventRecord(latest_->get(), stream_));
  --copy(piece.copy).unissued;
  if (queued) {
    slot.copy = piece.copy;
  } else {
    finish_piece(piece.copy);  // the failure was noted; counted as finished, so that nobody waits forever
  }
  issued_.notify_all();
}

void Courier::work() {
  well(cudaSetDevice(gpu_));
  Slot slots[kSlots];
  for (Slot& slot : slots) {
    slot.memory = locked_.take(kPieceBytes);
    well(cudaEventCreateWithFlags(&slot.emptied, kBackgroundEvent));
  }
  for (int next = 0;; next = (next + 1) % kSlots) {
    Piece piece;
    std::unique_lock lock(mutex_);
    bool found = next_piece(piece);
    if (!found) {
      lock.unlock();
      for (Slot& slot : slots) empty(slot);
      lock.lock();
      work_.wait(lock, [&] { return leaving_ || (found = next_piece(piece)); });
    }
    if (leaving_) break;
    lock.unlock();
    empty(slots[next]);
    carry(slots[next], piece);
  }
  for (Slot& slot : slots) {
    if (slot.copy != 0) cudaEventSynchronize(slot.emptied);
    cudaEventDestroy(slot.emptied);
    if (slot.memory) cudaFreeHost(slot.memory);
  }
}

}  // namespace hearth::gpu
