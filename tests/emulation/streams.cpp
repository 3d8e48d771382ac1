// The runtime's functions: streams, events, graphs.
#include <cuda_runtime.h>

#include <algorithm>
#include <unordered_set>

#include "tests/emulation/device_memory.h"
#include "tests/emulation/runtime.h"

using namespace hearth::emulation;

namespace {

Stream& stream_of(cudaStream_t stream) {
  return stream ? *stream : Queue::get().default_stream;
}

// Whether every one of `ops` is among `ends` or before them.
bool all_before(const std::vector<OpPtr>& ops, const std::vector<OpPtr>& ends) {
  std::unordered_set<const Op*> seen;
  std::vector<const Op*> open;
  for (const OpPtr& op : ends) open.push_back(op.get());
  while (!open.empty()) {
    const Op* op = open.back();
    open.pop_back();
    if (!seen.insert(op).second) continue;
    for (const OpPtr& earlier : op->after) open.push_back(earlier.get());
  }
  return std::all_of(ops.begin(), ops.end(), [&](const OpPtr& op) { return seen.count(op.get()) > 0; });
}

void leave_capture(Stream& stream) {
  stream.capture = nullptr;
  stream.tail = std::move(stream.tail_before_capture);
  stream.tail_before_capture.clear();
}

}  // namespace

// ---- Streams

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  const Locked locked;
  if (driver_too_old()) return note(cudaErrorInsufficientDriver);
  *stream = new Stream;
  (*stream)->blocking = flags != cudaStreamNonBlocking;
  Queue::get().add(*stream);
  return note(Queue::get().broken);
}

cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  return cudaStreamCreateWithFlags(stream, cudaStreamDefault);
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned flags, int) {
  return cudaStreamCreateWithFlags(stream, flags);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream) {  // what it was given is still done
  const Locked locked;
  if (!stream || !Queue::get().knows(stream)) return note(cudaErrorInvalidResourceHandle);
  Queue::get().remove(stream);
  delete stream;
  return note(Queue::get().broken);
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const Locked locked;
  ++runtime_calls().waits;
  Queue& queue = Queue::get();
  if (!queue.knows(stream)) return note(cudaErrorInvalidResourceHandle);
  Stream& s = stream_of(stream);
  if (s.capture) {
    s.capture->valid = false;
    return note(cudaErrorStreamCaptureUnsupported);
  }
  return note(queue.run_until(s.tail));
}

cudaError_t cudaStreamQuery(cudaStream_t stream) {
  const Locked locked;
  Queue& queue = Queue::get();
  if (!queue.knows(stream)) return note(cudaErrorInvalidResourceHandle);
  Stream& s = stream_of(stream);
  if (s.capture) {
    s.capture->valid = false;
    return note(cudaErrorStreamCaptureUnsupported);
  }
  if (Queue::done(s.tail)) return note(queue.broken);
  queue.step();
  return cudaErrorNotReady;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const Locked locked;
  if (!event || !Queue::get().knows(stream)) return note(cudaErrorInvalidResourceHandle);
  if (!event->op) return note(Queue::get().broken);  // never recorded: nothing to wait for
  Stream& s = stream_of(stream);
  if (event->capture && s.capture && event->capture != s.capture) return note(cudaErrorInvalidValue);
  if (event->capture && !s.capture) {  // joins the recording
    if (!event->capture->origin || !stream) return note(cudaErrorInvalidValue);
    s.capture = event->capture;
    s.capture->joined.push_back(&s);
    s.tail_before_capture = std::move(s.tail);
    s.tail.clear();
  } else if (!event->capture && s.capture) {
    s.capture->valid = false;
    return note(cudaErrorStreamCaptureUnsupported);  // would wait for something outside of the graph
  }
  s.tail.push_back(event->op);
  return note(Queue::get().broken);
}

cudaError_t cudaLaunchHostFunc(cudaStream_t stream, cudaHostFn_t function, void* data) {
  const Locked locked;
  if (!Queue::get().knows(stream)) return note(cudaErrorInvalidResourceHandle);
  return note(Queue::get().submit(stream, [=] {
    const DeviceMemory::Shut shut;  // it is host code
    function(data);
    return cudaSuccess;
  }));
}

// ---- Events

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned flags) {
  const Locked locked;
  if (driver_too_old()) return note(cudaErrorInsufficientDriver);
  *event = new Event;
  (*event)->timed = !(flags & cudaEventDisableTiming);
  return note(Queue::get().broken);
}

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  return cudaEventCreateWithFlags(event, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const Locked locked;
  if (!event) return note(cudaErrorInvalidResourceHandle);
  delete event;
  return note(Queue::get().broken);
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const Locked locked;
  Queue& queue = Queue::get();
  if (!event || !queue.knows(stream)) return note(cudaErrorInvalidResourceHandle);
  auto time = std::make_shared<std::chrono::steady_clock::time_point>();
  OpPtr op;
  const cudaError_t error = queue.submit(
      stream,
      [time] {
        *time = std::chrono::steady_clock::now();
        return cudaSuccess;
      },
      &op);
  if (error) return note(error);
  event->op = op;
  event->time = time;
  event->capture = stream_of(stream).capture;
  return cudaSuccess;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const Locked locked;
  ++runtime_calls().waits;
  if (!event) return note(cudaErrorInvalidResourceHandle);
  if (event->capture) return note(cudaErrorStreamCaptureUnsupported);
  if (!event->op) return note(Queue::get().broken);
  return note(Queue::get().run_until({event->op}));
}

cudaError_t cudaEventQuery(cudaEvent_t event) {
  const Locked locked;
  if (!event) return note(cudaErrorInvalidResourceHandle);
  if (event->capture) return note(cudaErrorStreamCaptureUnsupported);
  if (!event->op || event->op->done) return note(Queue::get().broken);
  Queue::get().step();
  return cudaErrorNotReady;
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t stop) {
  const Locked locked;
  for (const cudaEvent_t event : {start, stop}) {
    if (!event || !event->timed || !event->op || event->capture) return note(cudaErrorInvalidResourceHandle);
  }
  if (!start->op->done || !stop->op->done) return cudaErrorNotReady;
  *milliseconds = std::chrono::duration<float, std::milli>(*stop->time - *start->time).count();
  return note(Queue::get().broken);
}

// ---- Graphs

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode mode) {
  const Locked locked;
  if (!stream || !Queue::get().knows(stream)) return note(cudaErrorInvalidResourceHandle);
  if (stream->capture) return note(cudaErrorInvalidValue);
  if (Queue::get().broken) return note(Queue::get().broken);
  if (due(settings().fail_recording)) return note(cudaErrorMemoryAllocation);
  stream->capture = std::make_shared<Capture>();
  stream->capture->origin = stream;
  stream->capture->mode = mode;
  stream->tail_before_capture = std::move(stream->tail);
  stream->tail.clear();
  return cudaSuccess;
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* graph) {
  const Locked locked;
  *graph = nullptr;
  if (!stream || !Queue::get().knows(stream)) return note(cudaErrorInvalidResourceHandle);
  const std::shared_ptr<Capture> capture = stream->capture;
  if (!capture || capture->origin != stream) return note(cudaErrorInvalidValue);
  cudaError_t error = capture->valid ? cudaSuccess : cudaErrorStreamCaptureInvalidated;
  for (Stream* other : capture->joined) {
    if (!Queue::get().knows(other)) continue;
    if (!error && !all_before(other->tail, stream->tail)) error = cudaErrorStreamCaptureUnjoined;
    leave_capture(*other);
  }
  leave_capture(*stream);
  capture->origin = nullptr;
  if (error) return note(error);
  if (due(settings().fail_recording)) return note(cudaErrorMemoryAllocation);
  *graph = new Graph{capture->nodes, capture->launches};
  return note(Queue::get().broken);
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  const Locked locked;
  if (!Queue::get().knows(stream)) return note(cudaErrorInvalidResourceHandle);
  const Stream& s = stream_of(stream);
  *status = !s.capture         ? cudaStreamCaptureStatusNone
            : s.capture->valid ? cudaStreamCaptureStatusActive
                               : cudaStreamCaptureStatusInvalidated;
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* exec, cudaGraph_t graph, unsigned long long) {
  const Locked locked;
  ++runtime_calls().graphs;
  *exec = nullptr;
  if (!graph) return note(cudaErrorInvalidValue);
  for (const Launch& launch : graph->launches) {  // the limit may have been lowered since
    if (launch.shared_bytes > Queue::get().shared_memory_limit(launch.kernel)) return note(cudaErrorInvalidValue);
  }
  if (due(settings().fail_recording)) return note(cudaErrorMemoryAllocation);
  const size_t bytes = graph->nodes.size() * GraphExec::kNodeBytes;
  if (!DeviceMemory::get().take(bytes)) return note(cudaErrorMemoryAllocation);
  *exec = new GraphExec{graph->nodes, bytes};
  return note(Queue::get().broken);
}

cudaError_t cudaGraphUpload(cudaGraphExec_t exec, cudaStream_t stream) {
  const Locked locked;
  return note(exec && Queue::get().knows(stream) ? Queue::get().broken : cudaErrorInvalidResourceHandle);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream) {
  const Locked locked;
  if (!exec || !Queue::get().knows(stream)) return note(cudaErrorInvalidResourceHandle);
  if (stream_of(stream).capture) return note(cudaErrorStreamCaptureUnsupported);  // no graphs in graphs here
  return note(Queue::get().launch(stream, *exec));
}

cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  const Locked locked;
  delete graph;
  return note(Queue::get().broken);
}

cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec) {
  const Locked locked;
  if (exec) DeviceMemory::get().give_back(exec->bytes);
  delete exec;
  return note(Queue::get().broken);
}
