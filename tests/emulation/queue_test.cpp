// Streams, events, graphs, memory: what the order of operations leaves open is drawn, and mistakes in it show.
#include <doctest/doctest.h>

#include <memory>

#include "tests/emulation/sample_runs.h"

using namespace hearth;
using namespace hearth::test;
using emulation::runtime_calls;
using emulation::RuntimeCalls;
using emulation::settings;

namespace {

constexpr int kN = 64;
constexpr size_t kBytes = kN * sizeof(float);

// Settings of one test, gone with it; the device is well again.
struct Scope {
  emulation::Settings before = settings();
  Scope() { emulation::reset(); }
  ~Scope() {
    settings() = before;
    emulation::reset();
  }
};

struct Pinned {
  float* data = nullptr;
  explicit Pinned(float value) {
    check_cuda(cudaMallocHost(&data, kBytes), "cudaMallocHost");
    fill(value);
  }
  ~Pinned() { cudaFreeHost(data); }
  void fill(float value) const { std::fill(data, data + kN, value); }
  bool is(float value) const {
    return std::all_of(data, data + kN, [&](float v) { return v == value; });
  }
};

struct Streams {
  cudaStream_t a = nullptr, b = nullptr;
  cudaEvent_t event = nullptr;
  Streams() {
    cudaStreamCreateWithFlags(&a, cudaStreamNonBlocking);
    cudaStreamCreateWithFlags(&b, cudaStreamNonBlocking);
    cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
  }
  ~Streams() {
    cudaEventDestroy(event);
    cudaStreamDestroy(b);
    cudaStreamDestroy(a);
  }
};

void triple(const DeviceArray<float>& x, cudaStream_t stream) {
  samples::scale(Fault::none, x, 3.0f, x, kN, 32, stream);
}

enum class Mistake { none, no_wait, staging_reused, read_too_early };

// Upload on one stream, a kernel and the way back on another.
bool pipeline_is_right(Mistake mistake) {
  const Streams s;
  const DeviceArray<float> x(kN);
  const Pinned in(1.0f), out(0.0f);
  cudaMemcpyAsync(x, in.data, kBytes, cudaMemcpyHostToDevice, s.a);
  cudaEventRecord(s.event, s.a);
  if (mistake == Mistake::staging_reused) in.fill(7.0f);
  if (mistake != Mistake::no_wait) cudaStreamWaitEvent(s.b, s.event);
  triple(x, s.b);
  cudaMemcpyAsync(out.data, x, kBytes, cudaMemcpyDeviceToHost, s.b);
  if (mistake == Mistake::read_too_early) return out.is(3.0f);
  check_cuda(cudaStreamSynchronize(s.b), "cudaStreamSynchronize");
  check_cuda(cudaStreamSynchronize(s.a), "cudaStreamSynchronize");
  return out.is(3.0f);
}

int wrong_of_16_orders(Mistake mistake) {
  int wrong = 0;
  for (unsigned seed = 1; seed <= 16; seed++) {
    const Scope scope;
    settings().random_queue = true;
    settings().seed = seed;
    emulation::reset();
    wrong += !pipeline_is_right(mistake);
  }
  return wrong;
}

}  // namespace

TEST_CASE("mistakes in the order of operations show in some order that is allowed") {
  CHECK(pipeline_is_right(Mistake::none));
  CHECK(wrong_of_16_orders(Mistake::none) == 0);
  CHECK(wrong_of_16_orders(Mistake::no_wait) > 4);
  CHECK(wrong_of_16_orders(Mistake::staging_reused) > 4);
  CHECK(wrong_of_16_orders(Mistake::read_too_early) > 4);
}

TEST_CASE("pageable memory is read before a copy returns") {
  const Scope scope;
  const DeviceArray<float> x(kN);
  std::vector<float> values(kN, 2.0f), back(kN);
  cudaMemcpyAsync(x, values.data(), kBytes, cudaMemcpyHostToDevice, nullptr);
  values.assign(kN, 9.0f);
  cudaMemcpyAsync(back.data(), x, kBytes, cudaMemcpyDeviceToHost, nullptr);
  CHECK(back == std::vector<float>(kN, 2.0f));
}

TEST_CASE("the default stream waits for blocking streams, and they for it") {
  for (unsigned seed = 1; seed <= 16; seed++) {
    const Scope scope;
    settings().random_queue = true;
    settings().seed = seed;
    emulation::reset();
    cudaStream_t stream;
    REQUIRE(cudaStreamCreate(&stream) == cudaSuccess);
    const DeviceArray<float> x(std::vector<float>(kN, 1.0f));
    triple(x, stream);
    cudaMemsetAsync(x, 0, kBytes / 2, nullptr);
    triple(x, stream);
    const Pinned out(0.0f);
    cudaMemcpyAsync(out.data, x, kBytes, cudaMemcpyDeviceToHost, stream);
    CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
    CHECK(out.data[0] == 0.0f);
    CHECK(out.data[kN - 1] == 9.0f);
    cudaStreamDestroy(stream);
  }
}

TEST_CASE("a graph is recorded once and replayed, over two streams") {
  for (unsigned seed = 0; seed <= 8; seed++) {
    const Scope scope;
    settings().random_queue = seed > 0;
    settings().seed = seed;
    emulation::reset();
    const Streams s;
    const DeviceArray<float> x(std::vector<float>(kN, 1.0f)), y(std::vector<float>(kN, 1.0f));
    const Pinned out_x(0.0f), out_y(0.0f);
    cudaEvent_t joined;
    cudaEventCreateWithFlags(&joined, cudaEventDisableTiming);
    REQUIRE(cudaStreamBeginCapture(s.a, cudaStreamCaptureModeThreadLocal) == cudaSuccess);
    triple(x, s.a);
    cudaEventRecord(s.event, s.a);
    cudaStreamWaitEvent(s.b, s.event);
    triple(y, s.b);
    cudaEventRecord(joined, s.b);
    triple(x, s.a);
    cudaStreamWaitEvent(s.a, joined);
    cudaMemcpyAsync(out_x.data, x, kBytes, cudaMemcpyDeviceToHost, s.a);
    cudaMemcpyAsync(out_y.data, y, kBytes, cudaMemcpyDeviceToHost, s.a);
    cudaGraph_t graph;
    cudaGraphExec_t exec;
    REQUIRE(cudaStreamEndCapture(s.a, &graph) == cudaSuccess);
    REQUIRE(cudaGraphInstantiate(&exec, graph) == cudaSuccess);
    CHECK(cudaGraphDestroy(graph) == cudaSuccess);
    CHECK(cudaStreamSynchronize(s.a) == cudaSuccess);
    CHECK(out_x.is(0.0f));  // nothing ran yet
    for (int i = 0; i < 2; i++) CHECK(cudaGraphLaunch(exec, s.a) == cudaSuccess);
    CHECK(cudaStreamSynchronize(s.a) == cudaSuccess);
    CHECK(out_x.is(81.0f));
    CHECK(out_y.is(9.0f));
    cudaGraphExecDestroy(exec);
    cudaEventDestroy(joined);
  }
}

TEST_CASE("what may not be recorded is refused") {
  const Scope scope;
  const Streams s;
  const DeviceArray<float> x(std::vector<float>(kN, 1.0f)), y(kN);
  std::vector<float> pageable(kN);
  cudaGraph_t graph;
  const auto spoils = [&](const std::string& what, cudaError_t expected, const std::function<cudaError_t()>& call) {
    INFO(what);
    cudaGetLastError();
    REQUIRE(cudaStreamBeginCapture(s.a, cudaStreamCaptureModeGlobal) == cudaSuccess);
    CHECK(call() == expected);
    const cudaError_t end = cudaStreamEndCapture(s.a, &graph);
    CHECK(end != cudaSuccess);
    CHECK(graph == nullptr);
  };
  void* p = nullptr;
  spoils("malloc", cudaErrorStreamCaptureUnsupported, [&] { return cudaMalloc(&p, 4); });
  spoils("synchronize", cudaErrorStreamCaptureUnsupported, [&] { return cudaStreamSynchronize(s.a); });
  spoils("copy", cudaErrorStreamCaptureUnsupported,
         [&] { return cudaMemcpy(pageable.data(), x, kBytes, cudaMemcpyDeviceToHost); });
  spoils("not joined", cudaSuccess, [&] {
    cudaEventRecord(s.event, s.a);
    cudaStreamWaitEvent(s.b, s.event);
    triple(y, s.b);
    return cudaGetLastError();
  });
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
}

TEST_CASE("events: polling ends, time passes, what was never recorded is no obstacle") {
  const Scope scope;
  cudaEvent_t start, stop;
  cudaEventCreate(&start);
  cudaEventCreate(&stop);
  const DeviceArray<float> x(std::vector<float>(kN, 1.0f));
  CHECK(cudaStreamWaitEvent(nullptr, start) == cudaSuccess);
  float milliseconds = -1;
  CHECK(cudaEventElapsedTime(&milliseconds, start, stop) == cudaErrorInvalidResourceHandle);
  cudaEventRecord(start);
  triple(x, nullptr);
  cudaEventRecord(stop);
  CHECK(cudaEventElapsedTime(&milliseconds, start, stop) == cudaErrorNotReady);
  int polls = 0;
  while (cudaEventQuery(stop) == cudaErrorNotReady) polls++;
  CHECK(polls == 3);
  CHECK(cudaEventElapsedTime(&milliseconds, start, stop) == cudaSuccess);
  CHECK(milliseconds >= 0);
  cudaEventDestroy(start);
  cudaEventDestroy(stop);
}

TEST_CASE("host functions run in the order of their stream, with device memory shut") {
  const Scope scope;
  const Pinned out(0.0f);
  const DeviceArray<float> x(std::vector<float>(kN, 1.0f));
  cudaMemcpyAsync(out.data, x, kBytes, cudaMemcpyDeviceToHost, nullptr);
  bool came_after = false;
  struct Seen {
    const Pinned& out;
    bool& came_after;
  } seen{out, came_after};
  cudaLaunchHostFunc(
      nullptr, [](void* p) { static_cast<Seen*>(p)->came_after = static_cast<Seen*>(p)->out.is(1.0f); }, &seen);
  CHECK_FALSE(came_after);
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
  CHECK(came_after);
}

TEST_CASE("memory has an end, is given back, and is counted") {
  const Scope scope;
  size_t free_before = 0, free_now = 0, total = 0;
  REQUIRE(cudaMemGetInfo(&free_before, &total) == cudaSuccess);
  settings().memory = total - free_before + (size_t(1) << 20);
  char *p = nullptr, *q = nullptr;
  CHECK(cudaMalloc(&p, size_t(1) << 20) == cudaErrorMemoryAllocation);
  CHECK(p == nullptr);
  CHECK(cudaGetLastError() == cudaErrorMemoryAllocation);
  CHECK(cudaGetLastError() == cudaSuccess);
  CHECK(cudaMalloc(&p, size_t(700) << 10) == cudaSuccess);
  CHECK(reinterpret_cast<uintptr_t>(p) % 256 == 0);
  CHECK(cudaMalloc(&q, size_t(700) << 10) == cudaErrorMemoryAllocation);
  CHECK(cudaMemGetInfo(&free_now, &total) == cudaSuccess);
  CHECK(total == settings().memory);
  CHECK(free_now < (size_t(400) << 10));
  CHECK(cudaFree(p) == cudaSuccess);
  CHECK(cudaMalloc(&q, size_t(700) << 10) == cudaSuccess);
  CHECK(cudaFree(q) == cudaSuccess);
  CHECK(cudaFree(q) == cudaErrorInvalidValue);
}

TEST_CASE("copies beyond an allocation, or in another direction than said, are refused") {
  const Scope scope;
  const DeviceArray<float> x(kN);
  std::vector<float> host(2 * kN);
  CHECK(cudaMemcpy(x, host.data(), 2 * kBytes, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(cudaMemcpy(x, host.data(), kBytes, cudaMemcpyDeviceToDevice) == cudaErrorInvalidValue);
  CHECK(cudaMemcpy(host.data(), x, kBytes, cudaMemcpyHostToDevice) == cudaErrorInvalidValue);
  CHECK(cudaMemset(host.data(), 0, 4) == cudaErrorInvalidValue);
  CHECK(cudaMemcpy(x, host.data(), kBytes, cudaMemcpyDefault) == cudaSuccess);
}

TEST_CASE("failures can be asked for") {
  const Scope scope;
  char* p = nullptr;
  settings().fail_allocation = 2;
  CHECK(cudaMalloc(&p, 16) == cudaSuccess);
  CHECK(cudaFree(p) == cudaSuccess);
  CHECK(cudaMalloc(&p, 16) == cudaErrorMemoryAllocation);
  CHECK(cudaMalloc(&p, 16) == cudaSuccess);
  CHECK(cudaFree(p) == cudaSuccess);
  const DeviceArray<float> x(std::vector<float>(kN, 1.0f));
  settings().fail_launch = 2;
  triple(x, nullptr);
  CHECK(cudaDeviceSynchronize() == cudaSuccess);
  triple(x, nullptr);  // fails on the device, later
  CHECK(cudaDeviceSynchronize() == cudaErrorLaunchFailure);
  emulation::reset();
  settings().fail_copy = 1;
  std::vector<float> host(kN);
  CHECK(cudaMemcpy(host.data(), x, kBytes, cudaMemcpyDeviceToHost) != cudaSuccess);
  CHECK(cudaDeviceSynchronize() != cudaSuccess);
  emulation::reset();
  for (const int driver : {0, 12020}) {
    settings().driver = driver;
    int count = -7, version = -7;
    CHECK(cudaGetDeviceCount(&count) == cudaErrorInsufficientDriver);
    CHECK(count == -7);
    CHECK(cudaDriverGetVersion(&version) == cudaSuccess);
    CHECK(version == driver);
  }
}

TEST_CASE("other programs hold memory, and may take more when this one has looked") {
  const Scope scope;
  size_t before = 0, without = 0, after = 0, total = 0;
  CHECK(cudaMemGetInfo(&before, &total) == cudaSuccess);
  settings().others = 4096;
  settings().others_later = 8192;
  CHECK(cudaMemGetInfo(&without, &total) == cudaSuccess);
  CHECK(cudaMemGetInfo(&after, &total) == cudaSuccess);
  CHECK(total == settings().memory);
  CHECK(without == before - 4096);
  CHECK(after == before - 4096 - 8192);
  char* p = nullptr;
  CHECK(cudaMalloc(&p, without) == cudaErrorMemoryAllocation);
}

TEST_CASE("calls are counted") {
  const Scope scope;
  const RuntimeCalls before = runtime_calls();
  char *p = nullptr, *pinned = nullptr;
  std::vector<char> pageable(16);
  cudaStream_t stream = nullptr;
  CHECK(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking) == cudaSuccess);
  CHECK(cudaMalloc(&p, 16) == cudaSuccess);
  CHECK(cudaMallocHost(&pinned, 16) == cudaSuccess);
  CHECK(cudaMemcpyAsync(p, pinned, 16, cudaMemcpyHostToDevice, stream) == cudaSuccess);
  CHECK(runtime_calls().waits == before.waits);
  CHECK(cudaMemcpyAsync(p, pageable.data(), 16, cudaMemcpyHostToDevice, stream) == cudaSuccess);  // may wait
  CHECK(cudaMemcpyAsync(pageable.data(), p, 16, cudaMemcpyDeviceToHost, stream) == cudaSuccess);
  CHECK(cudaStreamSynchronize(stream) == cudaSuccess);
  CHECK(runtime_calls().waits == before.waits + 3);
  CHECK(cudaFree(p) == cudaSuccess);
  CHECK(cudaFreeHost(pinned) == cudaSuccess);
  CHECK(cudaStreamDestroy(stream) == cudaSuccess);
  CHECK(runtime_calls().allocations == before.allocations + 2);
  CHECK(runtime_calls().frees == before.frees + 2);
}

TEST_CASE("a kernel has 48 KB of dynamic shared memory, until its limit is raised; a graph keeps to the limit") {
  const Scope scope;
  const Streams streams;
  const auto kernel = reinterpret_cast<const void*>(&triple);  // any address is a name
  const auto launch = [&](size_t bytes, cudaStream_t stream) {
    return emulation::enqueue_launch(
        kernel, dim3(1), dim3(1), bytes, stream, [] {}, "a kernel");
  };
  CHECK(launch(48 * 1024, streams.a) == cudaSuccess);
  CHECK(launch(49 * 1024, streams.a) == cudaErrorInvalidValue);
  CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 60 * 1024) == cudaSuccess);
  CHECK(launch(60 * 1024, streams.a) == cudaSuccess);
  CHECK(launch(61 * 1024, streams.a) == cudaErrorInvalidValue);
  CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 100 * 1024) == cudaErrorInvalidValue);

  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  CHECK(cudaStreamBeginCapture(streams.a, cudaStreamCaptureModeRelaxed) == cudaSuccess);
  CHECK(launch(60 * 1024, streams.a) == cudaSuccess);
  CHECK(cudaStreamEndCapture(streams.a, &graph) == cudaSuccess);
  CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 50 * 1024) == cudaSuccess);
  CHECK(cudaGraphInstantiate(&exec, graph) == cudaErrorInvalidValue);
  CHECK(exec == nullptr);
  CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, 60 * 1024) == cudaSuccess);
  CHECK(cudaGraphInstantiate(&exec, graph) == cudaSuccess);
  CHECK(cudaGraphLaunch(exec, streams.a) == cudaSuccess);
  CHECK(cudaStreamSynchronize(streams.a) == cudaSuccess);
  CHECK(cudaGraphExecDestroy(exec) == cudaSuccess);
  CHECK(cudaGraphDestroy(graph) == cudaSuccess);
}

TEST_CASE("a recording takes the device's memory until it is destroyed, and fails where there is none") {
  const Scope scope;
  const Streams streams;
  const auto free = [] {
    size_t bytes = 0, total = 0;
    CHECK(cudaMemGetInfo(&bytes, &total) == cudaSuccess);
    return bytes;
  };
  DeviceArray<int> numbers(4);
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t exec = nullptr;
  CHECK(cudaStreamBeginCapture(streams.a, cudaStreamCaptureModeRelaxed) == cudaSuccess);
  for (int i = 0; i < 7; ++i) CHECK(cudaMemsetAsync(numbers.data(), 0, 4, streams.a) == cudaSuccess);
  CHECK(cudaStreamEndCapture(streams.a, &graph) == cudaSuccess);
  const size_t before = free();
  CHECK(cudaGraphInstantiate(&exec, graph) == cudaSuccess);
  CHECK(before - free() == 7 * 10240);
  CHECK(cudaGraphExecDestroy(exec) == cudaSuccess);
  CHECK(free() == before);
  settings().others = before - 7 * 10239;  // all but so much
  CHECK(cudaGraphInstantiate(&exec, graph) == cudaErrorMemoryAllocation);
  CHECK(exec == nullptr);
  settings().others = 0;
  CHECK(cudaGraphDestroy(graph) == cudaSuccess);
}

TEST_CASE("recordings can be made to fail, at their beginning, their end, or as graphs; the device stays well") {
  const Scope scope;
  const Streams streams;
  for (const int n : {1, 2, 3}) {
    settings().fail_recording = n;
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t exec = nullptr;
    const cudaError_t begun = cudaStreamBeginCapture(streams.a, cudaStreamCaptureModeRelaxed);
    const cudaError_t ended = cudaStreamEndCapture(streams.a, &graph);
    const cudaError_t made = cudaGraphInstantiate(&exec, graph);
    CHECK((begun == cudaErrorMemoryAllocation) == (n == 1));
    CHECK((ended == cudaErrorMemoryAllocation) == (n == 2));
    CHECK((made == cudaErrorMemoryAllocation) == (n == 3));
    CHECK(exec == nullptr);
    if (graph) CHECK(cudaGraphDestroy(graph) == cudaSuccess);
    CHECK(cudaStreamSynchronize(streams.a) == cudaSuccess);
  }
}
