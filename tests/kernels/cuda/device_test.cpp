// A GPU as a device, and two of them side by side: what one is told, allocates, copies, records or fails at is nothing
// to the other.
#include <doctest/doctest.h>

#include <algorithm>
#include <memory>
#include <thread>
#include <vector>

#include "kernels/cuda/backend.h"
#include "kernels/cuda/queue.h"
#include "tests/support/device_memory.h"

#ifdef HEARTH_EMULATED_CUDA
#include "tests/emulation/settings.h"
#endif

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
    on->forget_steps(this);
    on->release(x, 64 * sizeof(float));
    on->release(y, 64 * sizeof(float));
  }
  void step() {
    run_recorded(*on.device, {this, 1}, [&] {
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

TEST_CASE("two devices: steps are recorded apart, and outlive what is freed, but not their owner") {
  const OwnGpu a, b;
  Increment on_a(a), on_b(b);
  for (int i = 0; i < 3; ++i) on_a.step();
  CHECK(on_a.value() == 3);
  CHECK(a->step_counts().queued == 1);
  CHECK(a->step_counts().recorded == 1);
  CHECK(a->step_counts().repeated == 2);
  CHECK(b->step_counts().queued == 0);
  for (int i = 0; i < 2; ++i) on_b.step();
  b->release(b->buffer(64), 64);
  on_b.step();
  b->forget_steps(&on_a);
  on_b.step();
  CHECK(b->step_counts().queued == 1);
  CHECK(b->step_counts().repeated == 3);
  b->forget_steps(&on_b);
  on_b.step();
  on_a.step();
  CHECK(on_a.value() == 4);
  CHECK(on_b.value() == 5);
  CHECK(a->step_counts().recorded == 1);
  CHECK(b->step_counts().queued == 2);
  CHECK(b->step_counts().recorded == 1);
}

#ifdef HEARTH_EMULATED_CUDA
TEST_CASE("kernels begin early where their code can wait") {
  struct Restore {
    int before = emulation::settings().capability;
    ~Restore() { emulation::settings().capability = before; }
  } const restore;
  for (const int capability : {80, 89, 90, 120}) {
    CAPTURE(capability);
    emulation::settings().capability = capability;
    const OwnGpu on;
    CHECK(static_cast<const gpu::Queue*>(on->queue())->kernels_wait == (capability >= 90));
  }
}
#endif

TEST_CASE("two devices: each has counters of its own, and leaves them at zero") {
  const OwnGpu gpus[2];
  const auto counters_of = [](const OwnGpu& gpu) { return static_cast<const gpu::Queue*>(gpu->queue())->counters; };
  CHECK(counters_of(gpus[0]) != counters_of(gpus[1]));
  constexpr int64_t T = 3, E = 8, d = 16;
  constexpr Routing rule = {.n_experts = E, .n_activated = 2};
  const ScratchLimits limits = {.max_tokens = T, .dim = d, .n_experts = E, .n_activated = 2};
  std::vector<float> gate(E * d), x(T * d, 1.0f);
  for (size_t i = 0; i < gate.size(); ++i) gate[i] = float(i / d);  // the last experts
  for (const OwnGpu& on : gpus) {
    const size_t scratch_bytes = on.gpu.ops->scratch.route(limits);
    std::byte* const scratch = on->buffer(scratch_bytes);
    std::byte* const weights = on->buffer(gate.size() * sizeof(float));
    std::byte* const tokens = on->buffer(x.size() * sizeof(float));
    std::byte* const chosen = on->buffer(2 * T * sizeof(int32_t));
    std::byte* const shares = on->buffer(2 * T * sizeof(float));
    on->move(gate.data(), weights, gate.size() * sizeof(float));
    on->move(x.data(), tokens, x.size() * sizeof(float));
    const Exec exec{1, {scratch, scratch_bytes}, on->queue()};
    const Weight gate_inp{
        .format = &format_of(FormatId::f32), .data = weights, .count = 1, .n = E, .k = d, .row_bytes = d * 4};
    for (int i = 0; i < 2; ++i) {
      on.gpu.ops->route(exec, rule, gate_inp, nullptr, Mat<const float>(reinterpret_cast<const float*>(tokens), T, d),
                        reinterpret_cast<int32_t*>(chosen), reinterpret_cast<float*>(shares));
    }
    std::vector<int32_t> ids(2 * T);
    on->move(chosen, ids.data(), ids.size() * sizeof(int32_t));
    CHECK(on->finish() == "");
    CHECK(ids == std::vector<int32_t>{7, 6, 7, 6, 7, 6});
    std::vector<unsigned> counters(gpu::Queue::kCounters, 1);
    CHECK(cudaMemcpy(counters.data(), counters_of(on), counters.size() * sizeof(unsigned), cudaMemcpyDeviceToHost) ==
          cudaSuccess);
    CHECK(counters == std::vector<unsigned>(counters.size(), 0));
    for (std::byte* const buffer : {scratch, weights, tokens, chosen, shares}) on->release(buffer, 1);
  }
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
  const OwnGpu b;
  const Device::Memory before = b->memory();
  OwnGpu a;
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
  CHECK(cudaFree(to_a) == cudaSuccess);  // what was allocated is its user's to give back
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
  for (int i = 0; i < 4; ++i) run_recorded(*gpu.device, {shared, 1}, queue);
  CHECK(gpu->finish() == "");
  CHECK(turn.values == std::vector<float>{0, 1, 2, 3});
  CHECK(gpu->step_counts().repeated == 3);
  gpu->release_shared(shared, sizeof(float));
}

#ifdef HEARTH_EMULATED_CUDA
TEST_CASE("a recording that the driver refuses: the step is done all the same, once, and nobody tries again") {
  for (const int n : {1, 2, 3}) {  // to begin it, to end it, to make a graph of it
    CAPTURE(n);
    const OwnGpu gpu;
    Increment x(gpu);
    x.step();
    CHECK(gpu->refusal() == "");
    emulation::settings().fail_recording = n;
    x.step();
    CHECK(emulation::settings().fail_recording == 0);
    CHECK(gpu->refusal() ==
          "the GPU's driver refused to record a step (recording a step: out of memory): the operations of each token "
          "are queued one by one, which is slower");
    CHECK(x.value() == 2);
    for (int i = 0; i < 3; ++i) x.step();
    CHECK(x.value() == 5);
    CHECK(gpu->step_counts().queued == 5);
    CHECK(gpu->step_counts().recorded == 0);
    CHECK(gpu->step_counts().repeated == 0);
  }
}

TEST_CASE("GeForce multiplies bytes in tiles, data-centre GPUs do not") {
  const auto halved = [](int capability) {
    emulation::settings().capability = capability;
    const OwnGpu gpu;
    return static_cast<const gpu::Queue*>(gpu->queue())->halved_float_sums;
  };
  const int before = emulation::settings().capability;
  for (const int capability : {86, 89, 120}) CHECK(halved(capability));
  for (const int capability : {80, 90, 100}) CHECK(!halved(capability));
  emulation::settings().capability = before;
}

TEST_CASE("a device that fails while a step is recorded: that is told, as it is without recording") {
  const OwnGpu gpu;
  Increment x(gpu);
  x.step();
  CHECK(gpu->finish() == "");
  emulation::settings().fail_launch = 1;
  x.step();
  CHECK_MESSAGE(gpu->finish() != "", "the failed launch");
  emulation::reset();
}
#endif

TEST_CASE("small moves: several copies, both ways, in one operation, recorded as well") {
  const OwnGpu gpu;
  constexpr size_t kFloats = 1000;
  std::byte* const on_gpu = gpu->buffer(2 * kFloats * sizeof(float));
  std::byte* const shared = gpu->shared_buffer(4 * kFloats * sizeof(float));
  float* const host = reinterpret_cast<float*>(shared);
  for (size_t i = 0; i < kFloats; ++i) host[i] = float(i);
  const size_t bytes = kFloats * sizeof(float);
  const auto there_and_back = [&] {
    const Device::SmallMove in[] = {{shared, on_gpu, bytes}, {shared + 40, on_gpu + bytes, 4}};
    gpu->move_small(in);
    const Device::SmallMove out[] = {{on_gpu, shared + 2 * bytes, bytes}, {on_gpu + bytes, shared + 3 * bytes, 4}};
    gpu->move_small(out);
  };
  for (int round = 0; round < 3; ++round) {
    host[10] = 100.0f + float(round);
    std::fill(host + 2 * kFloats, host + 4 * kFloats, -1.0f);
    run_recorded(*gpu.device, {&gpu, 1}, there_and_back);
    CHECK(gpu->finish() == "");
    CHECK(std::equal(host, host + kFloats, host + 2 * kFloats));
    CHECK(host[3 * kFloats] == 100.0f + float(round));
    CHECK(host[3 * kFloats + 1] == -1.0f);
  }
  gpu->forget_steps(&gpu);
  gpu->move_small({});
  CHECK(gpu->reads_shared());
  gpu->release(on_gpu, 2 * bytes);
  gpu->release_shared(shared, 4 * bytes);
}

TEST_CASE("copies in the background arrive in small pieces as in large ones") {
  const OwnGpu gpu;
  std::vector<std::byte> from(size_t(3) << 20);
  for (size_t i = 0; i < from.size(); ++i) from[i] = std::byte(i * 7 >> 3);
  std::byte* const to = gpu->buffer(2 * from.size());
  int64_t last = gpu->fetch(from.data(), to, from.size() - 5);
  gpu->fetch_in_small_pieces(true);
  last = gpu->fetch(from.data(), to + from.size(), from.size());
  gpu->fetch_in_small_pieces(false);
  last = gpu->fetch(from.data() + from.size() - 5, to + from.size() - 5, 5);
  gpu->await_fetch(last);
  while (!gpu->fetched(last)) std::this_thread::yield();
  std::vector<std::byte> back(2 * from.size());
  gpu->move(to, back.data(), back.size());
  CHECK(gpu->finish() == "");
  CHECK(std::equal(from.begin(), from.end(), back.begin()));
  CHECK(std::equal(from.begin(), from.end(), back.begin() + ptrdiff_t(from.size())));
  gpu->release(to, back.size());
}

TEST_CASE("sizes that the kernels are not made for are refused, and by their names") {
  const Ops& ops = *OwnGpu().gpu.ops;
  const ScratchLimits usual = {.n_heads = 128,
                               .kv_lora_rank = 512,
                               .qk_nope_head_dim = 128,
                               .qk_rope_head_dim = 64,
                               .v_head_dim = 128,
                               .n_experts = 256,
                               .n_activated = 8};
  CHECK(ops.refuses(usual) == "");
  const auto with = [&](int64_t ScratchLimits::*size, int64_t value) {
    ScratchLimits limits = usual;
    limits.*size = value;
    return ops.refuses(limits);
  };
  CHECK(with(&ScratchLimits::kv_lora_rank, 4096).starts_with("the latent cache's width: expected at most "));
  CHECK(with(&ScratchLimits::kv_lora_rank, 4096).ends_with(", found 4160"));
  CHECK(with(&ScratchLimits::qk_nope_head_dim, 1024).starts_with("a head's key: expected at most "));
  CHECK(with(&ScratchLimits::v_head_dim, 1024).starts_with("a head's value: expected at most "));
  CHECK(with(&ScratchLimits::n_experts, 1000).ends_with(", found 1000"));
  CHECK(with(&ScratchLimits::n_activated, 100).starts_with("experts used: expected at most "));
  CHECK(with(&ScratchLimits::qk_nope_head_dim, 17) ==
        "a head's key without position and its value: expected even widths, found 17 and 128");
  CHECK(with(&ScratchLimits::v_head_dim, 9).ends_with("found 128 and 9"));
}

TEST_CASE("a device that is not there: why, and no device") {
  std::unique_ptr<Device> device;
  const Gpu gpu = new_gpu(1000, device);
  CHECK_FALSE(device);
  CHECK(gpu.ops == nullptr);
  CHECK(gpu.device == nullptr);
  CHECK_MESSAGE(gpu.why_not.starts_with("there is no GPU 1000: expected 0 to "), gpu.why_not);
}
