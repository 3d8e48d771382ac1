// The host as a device: one memory, whose buffers are pages of zeros that cost nothing until they are written, and no
// queue.
#include <sys/mman.h>

#include <cstring>

#include "kernels/device.h"

namespace hearth {
namespace {

class Host final : public Device {
 public:
  const char* name() const override { return "cpu"; }
  const void* queue() const override { return nullptr; }

  std::byte* buffer(size_t bytes) override {
    void* memory = mmap(nullptr, at_least_one(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? nullptr : static_cast<std::byte*>(memory);
  }
  void release(std::byte* buffer, size_t bytes) override {
    if (buffer) munmap(buffer, at_least_one(bytes));
  }
  std::byte* shared_buffer(size_t bytes) override { return buffer(bytes); }
  void release_shared(std::byte* buffer, size_t bytes) override { release(buffer, bytes); }
  Memory memory() override { return {}; }

  void move(const void* from, void* to, size_t bytes) override { std::memcpy(to, from, bytes); }
  void move_small(std::span<const SmallMove> moves) override {
    for (const SmallMove& m : moves) std::memcpy(m.to, m.from, m.bytes);
  }
  bool reads_shared() const override { return true; }
  std::string finish() override { return {}; }
  void step(const StepKey&, void (*queue)(const void*), const void* context) override { queue(context); }
  void forget_steps(const void*) override {}
  void aside(void (*work)(void*), void* context) override { work(context); }
  void rejoin() override {}

  // A copy is done when fetch returns, so every number counts as fetched.
  int64_t fetch(const std::byte* from, std::byte* to, size_t bytes) override {
    std::memcpy(to, from, bytes);
    return 0;
  }
  bool fetched(int64_t) override { return true; }
  void fetch_in_small_pieces(bool) override {}
  void order_fetch() override {}
  void await_fetch(int64_t) override {}

 private:
  static size_t at_least_one(size_t bytes) { return bytes == 0 ? 1 : bytes; }
};

}  // namespace

Device& host_device() {
  static Host host;
  return host;
}

}  // namespace hearth
