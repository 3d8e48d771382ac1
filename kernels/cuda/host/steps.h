// Repeated steps. A decoded token is a few hundred launches with the same arguments as the last token's, and the CPU
// would spend more time on them than the GPU on the kernels. So a step that comes a second time is recorded as a graph,
// and from then on one launch starts all of it. (The first time its operations are queued one by one: a kernel's first
// launch loads the kernel, which should not happen while recording.)
//
// Where the host has turns (`aside` to `rejoin`), a step is several graphs, and turns begin and end between them. What
// runs beside a turn is launched before the host starts the turn, so both are at work.
#pragma once

#include <string>
#include <vector>

#include "kernels/cuda/host/step_clock.h"
#include "kernels/cuda/queue.h"
#include "kernels/device.h"

namespace hearth::gpu {

class Steps {
 public:
  explicit Steps(const Queue& queue) : queue_(queue), clock_(queue) {}
  ~Steps();

  // These implement Device::step, aside and rejoin. `record` is false where copies cannot be recorded, for lack of
  // page-locked memory.
  void step(const StepKey& key, bool record, void (*queue)(const void* context), const void* context);
  void aside(void (*work)(void* context), void* context);
  void rejoin();

  void forget(const void* owner);

  // Why steps are not recorded, though they could be; empty: they are.
  const std::string& refusal() const { return refusal_; }
  const StepCounts& counts() const { return counts_; }
  StepClock& clock() { return clock_; }

 private:
  struct Turn {
    void (*work)(void* context) = nullptr;
    void* context = nullptr;
  };
  // A graph, and what follows it: the beginning of a turn, its end, or the end of the step.
  struct Piece {
    cudaGraphExec_t graph;
    enum Then { turn_begins, turn_ends, step_ends } then;
    Turn turn;
  };
  struct Recorded {
    StepKey key;
    std::vector<Piece> pieces;  // empty: the step was queued once, not recorded yet
  };

  Recorded* find(const StepKey& key);
  bool record(Recorded& step, void (*queue)(const void*), const void* context);
  void repeat(const Recorded& step);
  void forget_all();
  void destroy(Recorded& step);
  void begin_recording();
  void end_recording(Piece::Then then, const Turn& turn);
  void begin_turn(const Turn& turn);
  void end_turn();

  const Queue& queue_;
  std::vector<Recorded> steps_;
  StepCounts counts_;
  StepClock clock_;
  Recorded* recording_ = nullptr;
  std::string refusal_;
  bool well_ = true;  // whether the recording has succeeded so far
  Turn open_turn_;
  cudaEvent_t turn_may_begin_ = nullptr;  // reached when everything queued before the turn is done
};

}  // namespace hearth::gpu
