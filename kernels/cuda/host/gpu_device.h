// A GPU as a Device: its queue, what was allocated there, copies in the background, and repeated steps.
#pragma once

#include <memory>
#include <string>

#include "kernels/cuda/host/carriers.h"
#include "kernels/cuda/host/courier.h"
#include "kernels/cuda/host/memory.h"
#include "kernels/cuda/host/staging.h"
#include "kernels/cuda/host/steps.h"
#include "kernels/cuda/kernel.h"
#include "kernels/device.h"

namespace hearth::gpu {

// The thread that calls one of these makes the GPU its own; operations that it queues next go there.
class GpuDevice final : public Device {
 public:
  // The GPU of that number, or null and why not.
  static std::unique_ptr<GpuDevice> open(int number, std::string& why_not);
  // The number of the GPU with the most memory; 0 where there is none.
  static int largest();
  ~GpuDevice() override;

  std::string description() const;  // "NVIDIA H200, sm_90, 139.7 GiB"

  std::string slow_start() const;  // Gpu::slow_start

  const char* name() const override { return GPU_EMULATED ? "emulated" : "cuda"; }
  const void* queue() const override { return &queue_; }

  std::byte* buffer(size_t bytes) override;
  void release(std::byte* buffer, size_t bytes) override;
  std::byte* shared_buffer(size_t bytes) override;
  void release_shared(std::byte* buffer, size_t bytes) override;
  Device::Memory memory() override;
  int multiprocessors() const override { return queue_.multiprocessors; }

  void move(const void* from, void* to, size_t bytes) override;
  void move_small(std::span<const SmallMove> moves) override;
  bool reads_shared() const override { return locked_.refused_bytes() == 0; }
  std::string finish() override;
  void step(const StepKey& key, void (*queue)(const void* context), const void* context) override;
  void forget_steps(const void* owner) override { steps_.forget(owner); }
  void aside(void (*work)(void* context), void* context) override { steps_.aside(work, context); }
  void rejoin() override { steps_.rejoin(); }

  int64_t fetch(const std::byte* from, std::byte* to, size_t bytes) override;
  bool fetched(int64_t number) override { return courier().settled(number); }
  void fetch_in_small_pieces(bool small) override { courier().take_small_pieces(small); }
  void order_fetch() override { courier().order(); }
  void await_fetch(int64_t number) override { courier().await(number); }

  std::string refusal() const override;
  StepCounts step_counts() const override { return steps_.counts(); }
  void time_next_step() override { steps_.clock().time_next_step(); }
  std::vector<StepSpan> timed_step() override { return steps_.clock().spans(); }

 private:
  // `queue` becomes its own.
  GpuDevice(int number, const Queue& queue)
      : number_(number), queue_{queue.stream,   &failures_, queue.multiprocessors, queue.halved_float_sums,
                                queue.counters, &limits_,   queue.kernels_wait} {}
  void make_current() { queue_.check(cudaSetDevice(number_), "choosing the GPU"); }
  void wait() { queue_.check(cudaStreamSynchronize(queue_.stream), "waiting for the GPU"); }
  Courier& courier();
  Carriers& carriers();

  const int number_;
  Failures failures_;
  SharedMemoryLimits limits_;
  const Queue queue_;
  LockedMemory locked_;
  gpu::Memory memory_{queue_, locked_};
  Staging staging_{queue_, locked_};
  Steps steps_{queue_};
  std::unique_ptr<Courier> courier_;    // made at the first copy, and kept: page-locking is slow
  std::unique_ptr<Carriers> carriers_;  // as well
};

}  // namespace hearth::gpu
