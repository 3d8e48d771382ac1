#include "tests/emulation/queue.h"

#include <algorithm>
#include <cstdio>
#include <unordered_map>

#include "tests/emulation/device_memory.h"
#include "tests/emulation/settings.h"
#include "tests/emulation/shared_memory.h"

namespace hearth::emulation {

Queue& Queue::get() {
  static Queue& queue = *new Queue;  // outlives static objects that free memory
  return queue;
}

bool Queue::knows(const Stream* stream) const {
  return !stream || stream == &default_stream || std::find(streams_.begin(), streams_.end(), stream) != streams_.end();
}

size_t Queue::shared_memory_limit(const void* kernel) const {
  const auto found = shared_memory_limits_.find(kernel);
  return std::max(kMaxStaticShared, found == shared_memory_limits_.end() ? 0 : found->second);
}

// After what the stream's next operation comes: the stream's last, and the default stream's rule.
std::vector<OpPtr> Queue::dependencies(Stream& stream) const {
  std::vector<OpPtr> after = stream.tail;
  if (&stream == &default_stream) {
    for (const Stream* other : streams_) {
      if (other->blocking && !other->capture) after.insert(after.end(), other->tail.begin(), other->tail.end());
    }
  } else if (stream.blocking) {
    after.insert(after.end(), default_stream.tail.begin(), default_stream.tail.end());
  }
  std::erase_if(after, [](const OpPtr& op) { return op->done; });
  return after;
}

cudaError_t Queue::submit(Stream* stream, std::function<cudaError_t()> run, OpPtr* submitted, OpKind kind) {
  if (broken != cudaSuccess) return broken;
  Stream& s = stream ? *stream : default_stream;
  auto op = std::make_shared<Op>();
  op->kind = kind;
  if (run) op->run = std::make_shared<const std::function<cudaError_t()>>(std::move(run));
  if (submitted) *submitted = op;
  if (s.capture) {
    if (!s.capture->valid) return cudaErrorStreamCaptureInvalidated;
    op->after = s.tail;
    s.capture->nodes.push_back(op);
    s.tail = {op};
    return cudaSuccess;
  }
  if (&s == &default_stream) {  // would have to wait for streams that are being recorded
    for (Stream* other : streams_) {
      if (other->capture && other->blocking && other->capture->mode != cudaStreamCaptureModeRelaxed) {
        other->capture->valid = false;
        return cudaErrorStreamCaptureImplicit;
      }
    }
  }
  op->after = dependencies(s);
  s.tail = {op};
  enqueue(op);
  return cudaSuccess;
}

cudaError_t Queue::launch(Stream* stream, const GraphExec& graph) {
  if (broken != cudaSuccess) return broken;
  Stream& s = stream ? *stream : default_stream;
  const std::vector<OpPtr> before = dependencies(s);
  std::unordered_map<const Op*, OpPtr> copies;
  std::vector<OpPtr> ends;
  auto end = std::make_shared<Op>();
  for (const OpPtr& node : graph.nodes) {  // in order of recording: what a node comes after was copied before it
    auto op = std::make_shared<Op>();
    op->kind = node->kind;
    op->run = node->run;
    for (const OpPtr& earlier : node->after) op->after.push_back(copies.at(earlier.get()));
    if (op->after.empty()) op->after = before;
    copies[node.get()] = op;
    end->after.push_back(op);
    enqueue(op);
  }
  if (graph.nodes.empty()) end->after = before;
  s.tail = {end};
  enqueue(end);
  return cudaSuccess;
}

void Queue::enqueue(OpPtr op) {
  runtime_calls().kernels += op->kind == OpKind::kernel;
  runtime_calls().copies += op->kind == OpKind::copy;
  pending_.push_back(std::move(op));
  if (settings().random_queue && random_() % 4 == 0) step();  // a device starts when it likes
}

bool Queue::done(const std::vector<OpPtr>& ops) {
  return std::all_of(ops.begin(), ops.end(), [](const OpPtr& op) { return op->done; });
}

void Queue::run(const OpPtr& op) {
  if (op->run && broken == cudaSuccess) {
    const cudaError_t error = (*op->run)();
    if (error != cudaSuccess && broken == cudaSuccess) break_device(error, cudaGetErrorString(error));
  }
  op->done = true;
  op->after.clear();
}

bool Queue::run_one() {
  if (pending_.empty()) return false;
  size_t chosen = 0;
  if (settings().random_queue) {
    std::vector<size_t> ready;
    for (size_t i = 0; i < pending_.size(); i++) {
      if (done(pending_[i]->after)) ready.push_back(i);
    }
    chosen = ready[random_() % ready.size()];  // the oldest is always ready
  }
  const OpPtr op = pending_[chosen];
  pending_.erase(pending_.begin() + ptrdiff_t(chosen));
  run(op);
  return true;
}

void Queue::step() {
  const DeviceMemory::Open opened;
  run_one();
}

cudaError_t Queue::run_until(const std::vector<OpPtr>& ops) {
  if (!done(ops)) {
    const DeviceMemory::Open opened;
    while (!done(ops) && run_one()) {
    }
  }
  return broken;
}

cudaError_t Queue::run_all() {
  if (!pending_.empty()) {
    const DeviceMemory::Open opened;
    while (run_one()) {
    }
  }
  return broken;
}

cudaError_t Queue::refuse_while_capturing() {
  cudaError_t error = broken;
  for (Stream* stream : streams_) {
    if (stream->capture && stream->capture->mode != cudaStreamCaptureModeRelaxed) {
      stream->capture->valid = false;
      error = cudaErrorStreamCaptureUnsupported;
    }
  }
  return error;
}

void Queue::break_device(cudaError_t error, const std::string& why) {
  broken = error;
  failure = why;
  std::fprintf(stderr, "CUDA emulation: %s\n", why.c_str());
}

void Queue::reset() {
  broken = cudaSuccess;
  failure.clear();
  for (const OpPtr& op : pending_) {
    op->done = true;
    op->after.clear();
  }
  pending_.clear();
  random_.seed(settings().seed);
}

}  // namespace hearth::emulation
