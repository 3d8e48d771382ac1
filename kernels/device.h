// FLOOR 2's other half: where operations run. A device has memory, a queue of operations, copies that run beside the
// queue, and turns in which the host takes part. What the operations compute is said in kernels/ops.h.
//
// The host is a device (host_device), which does everything at once, when asked; each GPU is another
// (kernels/cuda/backend.h). Devices share nothing: each has its own queue, memory records and failures. Only one thread
// at a time may use a device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace hearth {

// What tells one step from another whose operations have other arguments. What is different when a step comes again
// (tokens, positions, the sequence's cache) lies in the device's memory.
struct StepKey {
  const void* owner = nullptr;  // of the memory that the operations work in
  int64_t n_tokens = 0;

  friend bool operator==(const StepKey&, const StepKey&) = default;
};

// How often steps were queued operation by operation, recorded, and repeated from a recording.
struct StepCounts {
  int queued = 0, recorded = 0, repeated = 0;
};

// A time in which the device (or, in one of its turns, the host) was at work, in seconds since the step began.
struct StepSpan {
  bool on_device = false;
  double begin = 0, end = 0;
};

class Device {
 public:
  Device() = default;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  virtual ~Device() = default;

  virtual const char* name() const = 0;   // "cpu", "cuda", "emulated"
  virtual const void* queue() const = 0;  // what Exec::queue must be for operations of this device

  // ---- Memory
  // Zeroed memory, aligned to 64; null when there is none left.
  virtual std::byte* buffer(size_t bytes) = 0;
  virtual void release(std::byte* buffer, size_t bytes) = 0;
  // Host memory that host and device use in turn, zeroed and aligned to 64; null when there is none left. A `move` from
  // or to it copies when its turn in the queue comes, and again each time the step is repeated.
  virtual std::byte* shared_buffer(size_t bytes) = 0;
  virtual void release_shared(std::byte* buffer, size_t bytes) = 0;
  // Bytes of the device's own memory: total, and free now. Both are 0 where the device uses the host's memory.
  struct Memory {
    size_t total = 0, free = 0;
  };
  virtual Memory memory() = 0;

  // How many a GPU has; 0: it is none.
  virtual int multiprocessors() const { return 0; }

  // ---- The queue
  // Copies between the host's memory and the device's, or inside either. Host memory that it reads may change as soon
  // as it returns; host memory that it writes may be read after `finish`.
  virtual void move(const void* from, void* to, size_t bytes) = 0;
  // Some copies of a few kilobytes each, in whole words, between the device's memory and shared buffers: one operation.
  struct SmallMove {
    const void* from;
    void* to;
    size_t bytes;
  };
  static constexpr size_t kMostSmallMoves = 4;
  virtual void move_small(std::span<const SmallMove> moves) = 0;
  // Whether operations can read shared buffers where they are.
  virtual bool reads_shared() const = 0;
  // Operations may return when they are queued, before they are done. `finish` waits for all of them. It returns an
  // empty string if all went well, else what failed; then no result since the last `finish` may be used.
  virtual std::string finish() = 0;
  // Runs queue(context), which queues operations. Where a step with the same key was recorded before, repeats that one
  // instead: the arguments are the same, but the contents of the device's memory (tokens, positions, the cache) are
  // those of now.
  virtual void step(const StepKey& key, void (*queue)(const void* context), const void* context) = 0;
  // The owner's memory goes: its steps do not come again.
  virtual void forget_steps(const void* owner) = 0;
  // The host's turn: work(context) runs on the thread that queues, after everything queued so far is done and before
  // anything queued after `rejoin`; what is queued between `aside` and `rejoin` runs beside it. It runs again each time
  // the step is repeated. One turn at a time. It does not run where the device has failed, and must queue nothing.
  virtual void aside(void (*work)(void* context), void* context) = 0;
  virtual void rejoin() = 0;

  // ---- Copies in the background
  // Copies from the host's memory to the device's, in order, beside what is queued. Returns the copy's number, larger
  // than those before (the host copies at once and always returns 0). `fetched`: that copy and all before it have
  // arrived.
  virtual int64_t fetch(const std::byte* from, std::byte* to, size_t bytes) = 0;
  virtual bool fetched(int64_t number) = 0;
  // From here on copies are made in small pieces, so that others do not wait long for their turn on the bus; or again
  // in large ones, which are faster.
  virtual void fetch_in_small_pieces(bool small) = 0;
  // Copies asked for from here on start after everything queued so far is done.
  virtual void order_fetch() = 0;
  // What is queued from here on runs after that copy has arrived.
  virtual void await_fetch(int64_t number) = 0;

  // ---- For reports
  // Why copies are slower than they could be: "the system refused to lock ...". Empty: nothing was refused so far.
  virtual std::string refusal() const { return {}; }
  virtual StepCounts step_counts() const { return {}; }
  virtual void time_next_step() {}  // only repeated steps are timed
  // The spans of the last step that was timed; empty if none was.
  virtual std::vector<StepSpan> timed_step() { return {}; }
};

// The processors and the memory that this program itself runs on.
Device& host_device();

// Device::step for any callable.
template <class Queue>
void run_recorded(Device& device, const StepKey& key, const Queue& queue) {
  device.step(
      key, [](const void* context) { (*static_cast<const Queue*>(context))(); }, &queue);
}

}  // namespace hearth
