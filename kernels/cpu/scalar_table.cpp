// The scalar table itself, and the memory operations, which every CPU table shares: buffers are pages of zeros that
// cost nothing until they are written.
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "kernels/cpu/scalar.h"

namespace hearth {
namespace {

size_t scratch_bytes(const ScratchLimits& limits) {
  return std::max({scalar::matmul_scratch(limits), scalar::attention_scratch(limits), scalar::route_scratch(limits)});
}

std::byte* buffer(size_t bytes) {
  if (bytes == 0) bytes = 1;
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return memory == MAP_FAILED ? nullptr : static_cast<std::byte*>(memory);
}

void release(std::byte* buffer, size_t bytes) {
  if (buffer) munmap(buffer, bytes == 0 ? 1 : bytes);
}

void move(const Exec&, const void* from, void* to, size_t bytes) {
  std::memcpy(to, from, bytes);
}

// One memory, one queue, and each copy is there when it was asked for.
int64_t fetch(const std::byte* from, std::byte* to, size_t bytes) {
  std::memcpy(to, from, bytes);
  return 0;
}

// Operations are done when they return.
std::string finish(const Exec&) {
  return {};
}
void step(const Exec&, const StepKey&, void (*queue)(const void*), const void* context) {
  queue(context);
}
void aside(const Exec&, void (*work)(void*), void* context) {
  work(context);
}

}  // namespace

const Ops& scalar_ops() {
  static constexpr Ops ops = {
      .name = "scalar",
      .scratch_bytes = scratch_bytes,
      .refuses = [](const ScratchLimits&) { return std::string(); },
      .buffer = buffer,
      .release = release,
      .move = move,
      .memory = [](size_t* total, size_t* free) { *total = *free = 0; },
      .shared_buffer = buffer,
      .release_shared = release,
      .fetch = fetch,
      .fetched = [](int64_t) { return true; },
      .order_fetch = [](const Exec&) {},
      .await_fetch = [](const Exec&, int64_t) {},
      .finish = finish,
      .step = step,
      .aside = aside,
      .rejoin = [](const Exec&) {},
      .embed = scalar::embed,
      .rms_norm = scalar::rms_norm,
      .matmul = scalar::matmul,
      .matmul_pair = scalar::matmul_pair,
      .matmul_heads = scalar::matmul_heads,
      .rope = scalar::rope,
      .store_latent = scalar::store_latent,
      .mla_attend = scalar::mla_attend,
      .absorbed_attend = scalar::absorbed_attend,
      .mha_attend = scalar::mha_attend,
      .ffn = scalar::ffn,
      .route = scalar::route,
      .moe_ffn = scalar::moe_ffn,
      .add = scalar::add,
      .add_rms_norm = scalar::add_rms_norm,
  };
  return ops;
}

}  // namespace hearth
