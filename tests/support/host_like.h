// A device that behaves as the host does, for tests that replace some of it.
#pragma once

#include "kernels/device.h"

namespace hearth::test {

class HostLike : public Device {
 public:
  const char* name() const override { return "a test's"; }
  const void* queue() const override { return nullptr; }
  std::byte* buffer(size_t bytes) override { return host_device().buffer(bytes); }
  void release(std::byte* buffer, size_t bytes) override { host_device().release(buffer, bytes); }
  std::byte* shared_buffer(size_t bytes) override { return buffer(bytes); }
  void release_shared(std::byte* buffer, size_t bytes) override { release(buffer, bytes); }
  Memory memory() override { return {}; }
  void move(const void* from, void* to, size_t bytes) override { host_device().move(from, to, bytes); }
  void move_small(std::span<const SmallMove> moves) override { host_device().move_small(moves); }
  bool reads_shared() const override { return true; }
  std::string finish() override { return {}; }
  void step(const StepKey&, void (*queue)(const void*), const void* context) override { queue(context); }
  void forget_steps(const void*) override {}
  void aside(void (*work)(void*), void* context) override { work(context); }
  void rejoin() override {}
  int64_t fetch(const std::byte* from, std::byte* to, size_t bytes) override {
    return host_device().fetch(from, to, bytes);
  }
  bool fetched(int64_t) override { return true; }
  void fetch_in_small_pieces(bool) override {}
  void order_fetch() override {}
  void await_fetch(int64_t) override {}
};

}  // namespace hearth::test
