// FLOOR 2's other half: where operations run. A device has memory, a queue of operations, copies that go on beside it,
// and turns in which the host takes part. What is computed, kernels/ops.h says.
//
// The host is one (host_device), on whose queue everything is done when it was asked for; each GPU is one
// (kernels/cuda/backend.h). Devices share nothing: each has its own queue, books and failures. One thread at a time
// uses a device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace hearth {

// What tells one step from another whose operations have other arguments.
struct StepKey {
  const void* cache = nullptr;
  int64_t n_tokens = 0, bound = 0;

  friend bool operator==(const StepKey&, const StepKey&) = default;
};

// How often a step was queued anew, recorded, and repeated.
struct StepCounts {
  int queued = 0, recorded = 0, repeated = 0;
};

// When a device was at work in a step, and when the host was in its turns, in seconds since the step began.
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
  // Memory of the host's that both sides use in turn, zeroed and aligned to 64; null when there is none left. `move`
  // copies from and to it when its turn in the queue comes, and again when a step is repeated.
  virtual std::byte* shared_buffer(size_t bytes) = 0;
  virtual void release_shared(std::byte* buffer, size_t bytes) = 0;
  // Bytes of a memory of its own, in all and free now; 0 and 0: it uses the host's.
  struct Memory {
    size_t total = 0, free = 0;
  };
  virtual Memory memory() = 0;

  // How many a GPU has; 0: it is none.
  virtual int multiprocessors() const { return 0; }

  // ---- The queue
  // Copies between the host's memory and the device's, or inside either: what it reads of the host's may change as soon
  // as it returns, what it writes there is to be looked at after `finish`.
  virtual void move(const void* from, void* to, size_t bytes) = 0;
  // Operations may be queued rather than done when they return. `finish` waits for all of them; empty: all is well,
  // else what failed, and then no result since the last `finish` is to be used.
  virtual std::string finish() = 0;
  // Runs queue(context), which queues operations; or, where that was done under the same key before, repeats those:
  // the same arguments, but what the device's memory holds now (tokens, positions, the cache).
  virtual void step(const StepKey& key, void (*queue)(const void* context), const void* context) = 0;
  // The host's turn: work(context) runs when what is queued so far is done, beside what is queued until `rejoin`, and
  // before all that comes then; on the thread that queues, and again when a step is repeated. One at a time. It does
  // not run where the device has failed, and queues nothing itself.
  virtual void aside(void (*work)(void* context), void* context) = 0;
  virtual void rejoin() = 0;

  // ---- Copies in the background
  // From the host's memory to the device's, one after the other, beside what is queued. Returns a number, larger than
  // those before. `fetched`: that one and all before it are there.
  virtual int64_t fetch(const std::byte* from, std::byte* to, size_t bytes) = 0;
  virtual bool fetched(int64_t number) = 0;
  // Copies that are asked for from here on come after what is queued so far.
  virtual void order_fetch() = 0;
  // What is queued from here on comes after that copy.
  virtual void await_fetch(int64_t number) = 0;

  // ---- For reports
  // Why copies are slower than they could be: "the system refused to lock ...". Empty: nothing was refused so far.
  virtual std::string refusal() const { return {}; }
  virtual StepCounts step_counts() const { return {}; }
  virtual void time_next_step() {}  // of those that are repeated
  // The last step that was timed; empty: none was.
  virtual std::vector<StepSpan> timed_step() { return {}; }
};

// The processors and the memory that this program itself runs on.
Device& host_device();

// Device::step with anything that can be called.
template <class Queue>
void run_recorded(Device& device, const StepKey& key, const Queue& queue) {
  device.step(
      key, [](const void* context) { (*static_cast<const Queue*>(context))(); }, &queue);
}

}  // namespace hearth
