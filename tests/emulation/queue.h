// What the device has still to do: operations, each after some others. Streams, events and graphs are ways to say after
// which; here they become one graph of operations, of which any order that the arrows allow is right. Nothing runs
// until somebody waits.
#pragma once

#include <cuda_runtime.h>

#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <vector>

namespace hearth::emulation {

enum class OpKind { none, kernel, copy };

struct Op {
  OpKind kind = OpKind::none;
  std::shared_ptr<const std::function<cudaError_t()>> run;  // null: nothing to do
  std::vector<std::shared_ptr<Op>> after;
  bool done = false;
};
using OpPtr = std::shared_ptr<Op>;

// A kernel in a graph, and the dynamic shared memory of its blocks.
struct Launch {
  const void* kernel;
  size_t shared_bytes;
};

// A graph while streams record into it: operations that serve as templates.
struct Capture {
  std::vector<OpPtr> nodes;
  std::vector<Launch> launches;
  Stream* origin = nullptr;
  std::vector<Stream*> joined;  // by waiting for an event of this capture
  cudaStreamCaptureMode mode = cudaStreamCaptureModeGlobal;
  bool valid = true;
};

struct Stream {
  bool blocking = true;     // waits for the default stream, and it for this one
  std::vector<OpPtr> tail;  // the next operation comes after these
  std::shared_ptr<Capture> capture;
  std::vector<OpPtr> tail_before_capture;
};

struct Event {
  bool timed = true;
  OpPtr op;  // null: never recorded
  std::shared_ptr<Capture> capture;
  std::shared_ptr<std::chrono::steady_clock::time_point> time;
};

struct Graph {
  std::vector<OpPtr> nodes;
  std::vector<Launch> launches;
};
// Takes memory of the device's: by NVIDIA's own figure some 10 KB for each operation.
struct GraphExec {
  static constexpr size_t kNodeBytes = 10 * 1024;
  std::vector<OpPtr> nodes;
  size_t bytes = 0;
};

class Queue {
 public:
  static Queue& get();
  // Every function of the runtime holds this while it runs.
  std::recursive_mutex lock;

  // Adds an operation to a stream (null: the default stream), or to the graph that the stream is recorded into.
  cudaError_t submit(Stream* stream, std::function<cudaError_t()> run, OpPtr* submitted = nullptr,
                     OpKind kind = OpKind::none);
  cudaError_t launch(Stream* stream, const GraphExec& graph);

  cudaError_t run_until(const std::vector<OpPtr>& ops);
  cudaError_t run_all();
  // Runs one operation, if there is any: a program that polls must see progress.
  void step();
  static bool done(const std::vector<OpPtr>& ops);

  // For calls that may not be made while a stream is recorded: an error, and the recording is void.
  cudaError_t refuse_while_capturing();

  void add(Stream* stream) { streams_.push_back(stream); }
  void remove(Stream* stream) { std::erase(streams_, stream); }
  bool knows(const Stream* stream) const;
  Stream default_stream;

  // Of the blocks of a kernel: 48 KB, or what cudaFuncSetAttribute said last.
  size_t shared_memory_limit(const void* kernel) const;
  void limit_shared_memory(const void* kernel, size_t bytes) { shared_memory_limits_[kernel] = bytes; }

  // The device's state: the first failure sticks, as it does on a GPU.
  cudaError_t broken = cudaSuccess;
  std::string failure;
  void break_device(cudaError_t error, const std::string& why);
  void reset();

 private:
  std::vector<OpPtr> dependencies(Stream& stream) const;
  void enqueue(OpPtr op);
  void run(const OpPtr& op);
  bool run_one();

  std::deque<OpPtr> pending_;  // in order of submission
  std::vector<Stream*> streams_;
  std::map<const void*, size_t> shared_memory_limits_;
  std::mt19937_64 random_;
};

}  // namespace hearth::emulation
