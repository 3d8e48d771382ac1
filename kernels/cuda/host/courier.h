// Copies in the background: experts from the mapped file into the GPU's memory, while the GPU and the host compute.
//
// A few threads take the copies' pieces in order, copy each into a page-locked slot of their own and queue its copy to
// the GPU on a stream for copies alone. The slots bound the page-locked memory, whatever the file's size. Bound: the
// threads' copying (about 10 GB/s each) or the bus.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "kernels/cuda/host/memory.h"

namespace hearth::gpu {

class Courier {
 public:
  // For GPU number `gpu`; failures are noted in queue.failures.
  Courier(int gpu, const Queue& queue, LockedMemory& locked);
  ~Courier();  // copies that are not finished may never arrive

  // These implement Device::fetch, fetched, order_fetch and await_fetch.
  int64_t take(const std::byte* from, std::byte* to, size_t bytes);
  bool settled(int64_t number);
  void order();
  void await(int64_t number);
  void take_small_pieces(bool small);

 private:
  class Event {
   public:
    explicit Event(const Courier& courier);
    ~Event() { cudaEventDestroy(event_); }
    cudaEvent_t get() const { return event_; }

   private:
    cudaEvent_t event_ = nullptr;
  };
  struct Copy {
    const std::byte* from;
    std::byte* to;
    size_t bytes, taken;  // `taken` bytes from the front are handed out as pieces
    size_t piece_bytes;
    int64_t unissued, unfinished;  // pieces
    std::shared_ptr<Event> after;  // nothing is written before this event; null: at any time
  };
  struct Piece {
    const std::byte* from = nullptr;
    std::byte* to = nullptr;
    size_t bytes = 0;
    int64_t copy = 0;  // number of the Copy
  };
  struct Slot {
    std::byte* memory = nullptr;
    cudaEvent_t emptied = nullptr;
    int64_t copy = 0;  // number of the Copy whose piece it holds; 0: none
  };

  bool well(cudaError_t error) const { return queue_.check(error, "moving experts into the GPU's memory"); }
  Copy& copy(int64_t number) { return copies_[size_t(number - n_settled_ - 1)]; }
  void settle();
  bool issued_up_to(int64_t number);
  void finish_piece(int64_t number);
  bool next_piece(Piece& piece);
  void empty(Slot& slot);
  void carry(Slot& slot, const Piece& piece);
  void work();

  const int gpu_;
  const Queue& queue_;
  LockedMemory& locked_;
  std::mutex mutex_;
  std::condition_variable work_, issued_;
  std::deque<Copy> copies_;  // the copies that are not settled; the first is number n_settled_ + 1
  int64_t n_settled_ = 0;
  size_t piece_bytes_;  // of copies that are asked for now
  bool leaving_ = false;
  cudaStream_t stream_ = nullptr;
  std::unique_ptr<Event> latest_;  // recorded after the last piece that was issued
  std::shared_ptr<Event> after_;
  std::vector<std::jthread> threads_;
};

}  // namespace hearth::gpu
