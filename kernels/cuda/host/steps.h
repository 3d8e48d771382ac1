// Repeated steps. A decoded token is a few hundred launches with the same arguments as the last token's, and the CPU
// would be busier with them than the GPU with the kernels. So a step that comes a second time is recorded as a graph,
// and from then on one launch starts all of it. (The first time it is queued as it is: a kernel's first launch loads
// it, which a recording had better not see.)
//
// Where the host has turns (`aside` to `rejoin`), a step is several graphs, between which the turns begin and end: what
// runs beside a turn is launched before the host starts with it, so both are at work.
#pragma once

#include <vector>

#include "kernels/cuda/host/step_clock.h"
#include "kernels/cuda/queue.h"
#include "kernels/device.h"

namespace hearth::gpu {

class Steps {
 public:
  explicit Steps(const Queue& queue) : queue_(queue), clock_(queue) {}
  ~Steps();

  // As Device::step, aside and rejoin. Without page-locked memory copies cannot be recorded: `record` false.
  void step(const StepKey& key, bool record, void (*queue)(const void* context), const void* context);
  void aside(void (*work)(void* context), void* context);
  void rejoin();

  void forget();  // all that is recorded, because memory it uses goes away

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
    std::vector<Piece> pieces;  // empty: seen once
  };

  Recorded* find(const StepKey& key);
  bool record(Recorded& step, void (*queue)(const void*), const void* context);
  void repeat(const Recorded& step);
  void forget(Recorded& step);
  void begin_recording();
  void end_recording(Piece::Then then, const Turn& turn);
  void begin_turn(const Turn& turn);
  void end_turn();

  const Queue& queue_;
  std::vector<Recorded> steps_;
  StepCounts counts_;
  StepClock clock_;
  Recorded* recording_ = nullptr;
  bool well_ = true;  // the recording
  Turn open_turn_;
  cudaEvent_t turn_may_begin_ = nullptr;  // all that was queued before it is done
};

}  // namespace hearth::gpu
