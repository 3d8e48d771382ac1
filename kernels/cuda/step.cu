// Repeated steps. A decoded token is a few hundred launches with the same arguments as the last token's, and the CPU
// would be busier with them than the GPU with the kernels. So a step that comes a second time is recorded as a graph,
// and from then on one launch starts all of it. (The first time it is queued as it is: a kernel's first launch loads
// it, which a recording had better not see.)
#include <vector>

#include "kernels/cuda/device_state.h"

namespace hearth::gpu {
namespace {

struct Recorded {
  StepKey key;
  cudaGraphExec_t graph = nullptr;  // null: seen once
};

constexpr size_t kMostSteps = 32;  // a conversation has one for each power of two of its length

std::vector<Recorded> steps;
StepCounts counts;

cudaGraphExec_t record(cudaStream_t stream, void (*queue)(const void*), const void* context) {
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  note_failure(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), "recording a step");
  queue(context);
  note_failure(cudaStreamEndCapture(stream, &graph), "recording a step");
  if (!graph) return nullptr;
  note_failure(cudaGraphInstantiate(&executable, graph, 0), "recording a step");
  note_failure(cudaGraphDestroy(graph), "recording a step");
  return executable;
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
  if (!s) {
    if (steps.size() == kMostSteps) forget_steps();
    steps.push_back({key});
    ++counts.queued;
    queue(context);
    return;
  }
  if (!s->graph) {
    s->graph = record(stream, queue, context);
    if (!s->graph) return;  // noted
    ++counts.recorded;
  }
  ++counts.repeated;
  note_failure(cudaGraphLaunch(s->graph, stream), "a recorded step");
}

void forget_steps() {
  if (steps.empty()) return;
  note_failure(cudaStreamSynchronize(compute_stream), "waiting for the GPU");
  for (const Recorded& s : steps)
    if (s.graph) note_failure(cudaGraphExecDestroy(s.graph), "forgetting a step");
  steps.clear();
}

}  // namespace hearth::gpu

hearth::StepCounts hearth::gpu_step_counts() {
  return hearth::gpu::counts;
}
