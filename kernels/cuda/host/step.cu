// Repeated steps. A decoded token is a few hundred launches with the same arguments as the last token's, and the CPU
// would be busier with them than the GPU with the kernels. So a step that comes a second time is recorded as a graph,
// and from then on one launch starts all of it. (The first time it is queued as it is: a kernel's first launch loads
// it, which a recording had better not see.)
//
// Where the host has turns (`aside` to `rejoin`), a step is several graphs, between which the turns begin and end: what
// runs beside a turn is launched before the host starts with it, so both are at work.
#include <vector>

#include "kernels/cuda/host/device_state.h"
#include "kernels/cuda/host/step_clock.h"

namespace hearth::gpu {
namespace {

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

constexpr size_t kMostSteps = 32;  // a conversation has one for each power of two of its length

std::vector<Recorded> steps;
StepCounts counts;
Recorded* recording = nullptr;
bool well = true;                        // the recording
StepClock& step_clock = *new StepClock;  // as all events here, it outlives the runtime that made them

Turn open_turn;
cudaEvent_t turn_may_begin = nullptr;  // all that was queued before it is done

void begin_turn(cudaStream_t stream, const Turn& turn) {
  if (!turn_may_begin) {
    note_failure(cudaEventCreateWithFlags(&turn_may_begin, cudaEventDisableTiming), "preparing the host's turn");
  }
  note_failure(cudaEventRecord(turn_may_begin, stream), "preparing the host's turn");
  open_turn = turn;
}

void end_turn() {
  const cudaError_t error = cudaEventSynchronize(turn_may_begin);
  note_failure(error, "waiting for the GPU");
  step_clock.turn_begins();
  if (error == cudaSuccess) open_turn.work(open_turn.context);
  step_clock.turn_ends();
}

void begin_recording(cudaStream_t stream) {
  const cudaError_t error = cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed);
  note_failure(error, "recording a step");
  well = well && error == cudaSuccess;
}

void end_recording(cudaStream_t stream, Piece::Then then, const Turn& turn = {}) {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  note_failure(cudaStreamEndCapture(stream, &graph), "recording a step");
  if (graph) {
    note_failure(cudaGraphInstantiate(&executable, graph, 0), "recording a step");
    note_failure(cudaGraphDestroy(graph), "recording a step");
  }
  well = well && executable;
  recording->pieces.push_back({executable, then, turn});
}

void forget(Recorded& step) {
  for (const Piece& piece : step.pieces)
    if (piece.graph) note_failure(cudaGraphExecDestroy(piece.graph), "forgetting a step");
  step.pieces.clear();
}

// False: failed, which was noted; nothing is kept.
bool record(cudaStream_t stream, Recorded& step, void (*queue)(const void*), const void* context) {
  recording = &step;
  well = true;
  begin_recording(stream);
  queue(context);
  end_recording(stream, Piece::step_ends);
  recording = nullptr;
  if (!well) forget(step);
  return well;
}

void repeat(cudaStream_t stream, const Recorded& step) {
  step_clock.step_begins(stream);
  for (const Piece& piece : step.pieces) {
    step_clock.piece_begins(stream);
    note_failure(cudaGraphLaunch(piece.graph, stream), "a recorded step");
    step_clock.piece_ends(stream);
    if (piece.then == Piece::turn_begins) begin_turn(stream, piece.turn);
    if (piece.then == Piece::turn_ends) end_turn();
  }
  step_clock.step_ends();
}

Recorded* find(const StepKey& key) {
  for (Recorded& s : steps)
    if (s.key == key) return &s;
  return nullptr;
}

}  // namespace

void step(const Exec& exec, const StepKey& key, void (*queue)(const void* context), const void* context) {
  const cudaStream_t stream = stream_of(exec);
  Recorded* s = find(key);
  if (!s || locking_refused()) {
    if (steps.size() == kMostSteps) forget_steps();
    if (!s) steps.push_back({key, {}});
    ++counts.queued;
    queue(context);
    return;
  }
  if (s->pieces.empty()) {
    if (!record(stream, *s, queue, context)) return;
    ++counts.recorded;
  }
  ++counts.repeated;
  repeat(stream, *s);
}

void aside(const Exec& exec, void (*work)(void* context), void* context) {
  const cudaStream_t stream = stream_of(exec);
  if (!recording) {
    begin_turn(stream, {work, context});
    return;
  }
  end_recording(stream, Piece::turn_begins, {work, context});
  begin_recording(stream);
}

void rejoin(const Exec& exec) {
  const cudaStream_t stream = stream_of(exec);
  if (!recording) {
    end_turn();
    return;
  }
  end_recording(stream, Piece::turn_ends);
  begin_recording(stream);
}

void forget_steps() {
  if (steps.empty()) return;
  note_failure(cudaStreamSynchronize(compute_stream), "waiting for the GPU");
  for (Recorded& s : steps) forget(s);
  steps.clear();
}

}  // namespace hearth::gpu

hearth::StepCounts hearth::gpu_step_counts() {
  return hearth::gpu::counts;
}

void hearth::time_next_gpu_step() {
  gpu::step_clock.time_next_step();
}

std::vector<hearth::StepSpan> hearth::timed_gpu_step() {
  return gpu::step_clock.spans();
}
