#include "kernels/cuda/host/steps.h"

namespace hearth::gpu {
namespace {

constexpr size_t kMostSteps = 32;  // a conversation has one step for each power of two up to its length

}  // namespace

Steps::~Steps() {
  forget();
  if (turn_may_begin_) cudaEventDestroy(turn_may_begin_);
}

void Steps::step(const StepKey& key, bool may_record, void (*queue)(const void* context), const void* context) {
  Recorded* s = find(key);
  if (!s || !may_record) {
    if (!s) {
      if (steps_.size() == kMostSteps) forget();
      steps_.push_back({key, {}});
    }
    ++counts_.queued;
    queue(context);
    return;
  }
  if (s->pieces.empty()) {
    if (!record(*s, queue, context)) return;
    ++counts_.recorded;
  }
  ++counts_.repeated;
  repeat(*s);
}

void Steps::aside(void (*work)(void* context), void* context) {
  if (!recording_) {
    begin_turn({work, context});
    return;
  }
  end_recording(Piece::turn_begins, {work, context});
  begin_recording();
}

void Steps::rejoin() {
  if (!recording_) {
    end_turn();
    return;
  }
  end_recording(Piece::turn_ends, {});
  begin_recording();
}

void Steps::forget() {
  if (steps_.empty()) return;
  queue_.check(cudaStreamSynchronize(queue_.stream), "waiting for the GPU");
  for (Recorded& s : steps_) forget(s);
  steps_.clear();
}

Steps::Recorded* Steps::find(const StepKey& key) {
  for (Recorded& s : steps_)
    if (s.key == key) return &s;
  return nullptr;
}

// False: recording failed; the failure was noted and nothing is kept.
bool Steps::record(Recorded& step, void (*queue)(const void*), const void* context) {
  recording_ = &step;
  well_ = true;
  begin_recording();
  queue(context);
  end_recording(Piece::step_ends, {});
  recording_ = nullptr;
  if (!well_) forget(step);
  return well_;
}

void Steps::repeat(const Recorded& step) {
  clock_.step_begins();
  for (const Piece& piece : step.pieces) {
    clock_.piece_begins();
    queue_.check(cudaGraphLaunch(piece.graph, queue_.stream), "a recorded step");
    clock_.piece_ends();
    if (piece.then == Piece::turn_begins) begin_turn(piece.turn);
    if (piece.then == Piece::turn_ends) end_turn();
  }
  clock_.step_ends();
}

void Steps::forget(Recorded& step) {
  for (const Piece& piece : step.pieces)
    if (piece.graph) queue_.check(cudaGraphExecDestroy(piece.graph), "forgetting a step");
  step.pieces.clear();
}

void Steps::begin_recording() {
  well_ =
      queue_.check(cudaStreamBeginCapture(queue_.stream, cudaStreamCaptureModeRelaxed), "recording a step") && well_;
}

void Steps::end_recording(Piece::Then then, const Turn& turn) {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  queue_.check(cudaStreamEndCapture(queue_.stream, &graph), "recording a step");
  if (graph) {
    queue_.check(cudaGraphInstantiate(&executable, graph, 0), "recording a step");
    queue_.check(cudaGraphDestroy(graph), "recording a step");
  }
  well_ = well_ && executable;
  recording_->pieces.push_back({executable, then, turn});
}

void Steps::begin_turn(const Turn& turn) {
  if (!turn_may_begin_) {
    queue_.check(cudaEventCreateWithFlags(&turn_may_begin_, cudaEventDisableTiming), "preparing the host's turn");
  }
  queue_.check(cudaEventRecord(turn_may_begin_, queue_.stream), "preparing the host's turn");
  open_turn_ = turn;
}

void Steps::end_turn() {
  const bool well = queue_.check(cudaEventSynchronize(turn_may_begin_), "waiting for the GPU");
  clock_.turn_begins();
  if (well) open_turn_.work(open_turn_.context);
  clock_.turn_ends();
}

}  // namespace hearth::gpu
