// A GPU as a device, and two of them side by side: what one is told, allocates, copies, records or fails at is nothing
// to the other.
#include <doctest/doctest.h>

#include <memory>
#include <thread>
#include <vector>

#include "kernels/cuda/backend.h"
#include "kernels/cuda/queue.h"
#include "tests/support/device_memory.h"

using namespace hearth;

namespace {

struct OwnGpu {
  std::unique_ptr<Device> device;
  Gpu gpu = new_gpu(0, device);

  OwnGpu() { REQUIRE_MESSAGE(device, gpu.why_not); }
  Device* operator->() const { return device.get(); }
};

// Adds 1 to each of 64 floats by the table's `add`.
struct Increment {
  const OwnGpu& on;
  std::byte* const x = on->buffer(64 * sizeof(float));
  std::byte* const y = on->buffer(64 * sizeof(float));

  explicit Increment(const OwnGpu& gpu) : on(gpu) {
    const std::vector<float> ones(64, 1.0f);
    on->move(ones.data(), y, 64 * sizeof(float));
  }
  ~Increment() {
    on->release(x, 64 * sizeof(float));
    on->release(y, 64 * sizeof(float));
  }
  void step() {
    run_recorded(*on.device, {x, 1, 64}, [&] {
      on.gpu.ops->add({.queue = on->queue()}, Mat<const float>(reinterpret_cast<const float*>(y), 1, 64),
                      Mat<float>(reinterpret_cast<float*>(x), 1, 64));
    });
  }
  float value() {
    float first = 0;
    on->move(x, &first, sizeof first);
    REQUIRE(on->finish() == "");
    return first;
  }
};

}  // namespace

TEST_CASE("two devices: steps are recorded apart, and outlive what the other one frees") {
  const OwnGpu a, b;
  Increment on_a(a), on_b(b);
  for (int i = 0; i < 3; ++i) on_a.step();
  CHECK(on_a.value() == 3);
  CHECK(a->step_counts().queued == 1);
  CHECK(a->step_counts().recorded == 1);
  CHECK(a->step_counts().repeated == 2);
  CHECK(b->step_counts().queued == 0);
  on_b.step();
  b->release(b->buffer(64), 64);
  on_a.step();
  on_b.step();  // forgotten: its memory may have been in use
  CHECK(on_a.value() == 4);
  CHECK(on_b.value() == 2);
  CHECK(a->step_counts().recorded == 1);
  CHECK(b->step_counts().queued == 2);
  CHECK(b->step_counts().recorded == 0);
}

TEST_CASE("two devices: a failure is told by the one that failed, once") {
  const OwnGpu a, b;
  CHECK_FALSE(static_cast<const gpu::Queue*>(a->queue())->check(cudaErrorInvalidValue, "a call"));
  CHECK_FALSE(static_cast<const gpu::Queue*>(a->queue())->check(cudaErrorLaunchFailure, "a later one"));
  CHECK(b->finish() == "");
  const std::string failure = a->finish();
  CHECK_MESSAGE(failure.starts_with("a call: "), failure);
  CHECK(a->finish() == "");
}

TEST_CASE("two devices: copies in the background are numbered apart and arrive; one that goes leaves them") {
  const std::vector<std::byte> from(size_t(5) << 20, std::byte(7));
  OwnGpu a;
  const OwnGpu b;
  const Device::Memory before = b->memory();
  std::byte* const to_a = a->buffer(from.size());
  std::byte* const to_b = b->buffer(from.size());
  b->order_fetch();  // the memory is being cleared
  const int64_t n = b->fetch(from.data(), to_b, from.size());
  for (int i = 0; i < 20; ++i) a->fetch(from.data(), to_a, from.size());
  b->await_fetch(n);
  while (!b->fetched(n)) std::this_thread::yield();
  std::vector<std::byte> back(from.size());
  b->move(to_b, back.data(), back.size());
  CHECK(b->finish() == "");
  CHECK(back == from);
  a.device.reset();  // in the middle of its copies
  b->release(to_b, from.size());
  CHECK(cudaFree(to_a) == cudaSuccess);  // memory is its user's to give back
  CHECK(b->memory().free == before.free);
}

TEST_CASE("the host's turn runs between what is queued before it and behind it, also when a step is repeated") {
  const OwnGpu gpu;
  Increment x(gpu);
  std::byte* const shared = gpu->shared_buffer(sizeof(float));
  struct Turn {
    const float* seen;
    std::vector<float> values;
  } turn{reinterpret_cast<const float*>(shared), {}};
  const auto queue = [&] {
    gpu->move(x.x, shared, sizeof(float));
    gpu->aside([](void* context) { static_cast<Turn*>(context)->values.push_back(*static_cast<Turn*>(context)->seen); },
               &turn);
    gpu.gpu.ops->add({.queue = gpu->queue()}, Mat<const float>(reinterpret_cast<const float*>(x.y), 1, 64),
                     Mat<float>(reinterpret_cast<float*>(x.x), 1, 64));
    gpu->rejoin();
  };
  for (int i = 0; i < 4; ++i) run_recorded(*gpu.device, {shared, 1, 64}, queue);
  CHECK(gpu->finish() == "");
  CHECK(turn.values == std::vector<float>{0, 1, 2, 3});
  CHECK(gpu->step_counts().repeated == 3);
  gpu->release_shared(shared, sizeof(float));
}

TEST_CASE("a device that is not there: why, and no device") {
  std::unique_ptr<Device> device;
  const Gpu gpu = new_gpu(1000, device);
  CHECK_FALSE(device);
  CHECK(gpu.ops == nullptr);
  CHECK(gpu.device == nullptr);
  CHECK_MESSAGE(gpu.why_not.starts_with("the GPU cannot be opened: "), gpu.why_not);
}
