#include "kernels/cuda/host/steps.h"

#include <algorithm>

namespace hearth::gpu {
namespace {

constexpr size_t kMostSteps = 32;  // a model has one for each number of tokens that is decoded at once

}  // namespace

Steps::~Steps() {
  forget_all();
  if (turn_may_begin_) cudaEventDestroy(turn_may_begin_);
}

void Steps::step(const StepKey& key, bool may_record, void (*queue)(const void* context), const void* context) {
  Recorded* s = find(key);
  if (!s || !may_record || !refusal_.empty()) {
    if (!s) {
      if (steps_.size() == kMostSteps) forget_all();
      steps_.push_back({key, {}});
    }
    ++counts_.queued;
    queue(context);
    return;
  }
  if (s->pieces.empty()) {
    if (!record(*s, queue, context)) {
      ++counts_.queued;
      queue(context);
      return;
    }
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

void Steps::forget_all() {
  if (steps_.empty()) return;
  queue_.check(cudaStreamSynchronize(queue_.stream), "waiting for the GPU");
  for (Recorded& s : steps_) destroy(s);
  steps_.clear();
}

void Steps::forget(const void* owner) {
  const auto of_owner = [owner](const Recorded& s) { return s.key.owner == owner; };
  if (std::none_of(steps_.begin(), steps_.end(), of_owner)) return;
  queue_.check(cudaStreamSynchronize(queue_.stream), "waiting for the GPU");
  for (Recorded& s : steps_) {
    if (of_owner(s)) destroy(s);
  }
  std::erase_if(steps_, of_owner);
}

Steps::Recorded* Steps::find(const StepKey& key) {
  for (Recorded& s : steps_)
    if (s.key == key) return &s;
  return nullptr;
}

// False: the driver refused; nothing is kept, and nobody tries again. That is no failure of the step, which is queued
// as it is then. (Where a recording could not begin, its operations have run already: a step may be done twice.)
bool Steps::record(Recorded& step, void (*queue)(const void*), const void* context) {
  queue_.failures->keep_apart();
  recording_ = &step;
  well_ = true;
  begin_recording();
  if (well_) {
    queue(context);
    end_recording(Piece::step_ends, {});
  }
  recording_ = nullptr;
  const Failure failure = queue_.failures->take_apart();
  if (well_ && failure.error == cudaSuccess) return true;
  refusal_ = failure.what + ": " + cudaGetErrorString(failure.error);
  destroy(step);
  cudaGetLastError();  // or the next launch would seem to have failed
  return false;
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

void Steps::destroy(Recorded& step) {
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
