#include "runtime/offload/host_ubatch.h"

#include <algorithm>
#include <bit>

#include "runtime/model/kv_cache.h"

namespace hearth {
namespace {

constexpr int64_t kLeast = 512, kMost = 4096, kTokensOfExpert = 128;

// A power of two.
int64_t wanted(const ModelConfig& c) {
  const int64_t n_activated = c.routing.n_activated;
  if (c.n_routed_experts == 0 || n_activated == 0) return kLeast;
  const uint64_t tokens = uint64_t((kTokensOfExpert * c.n_routed_experts + n_activated - 1) / n_activated);
  return std::clamp(int64_t(std::bit_ceil(tokens)), kLeast, kMost);
}

uint64_t weight_bytes(const ModelSizes& model) {
  uint64_t bytes = model.fixed.total();
  for (const ExpertLayer& layer : model.experts) bytes += layer.expert_bytes * uint64_t(model.config.n_routed_experts);
  return bytes;
}

}  // namespace

int64_t host_ubatch(const ModelSizes& model, const PlacementInput& input) {
  const ModelConfig& c = model.config;
  const int64_t n_ctx = input.n_ctx ? input.n_ctx : c.default_context();
  const auto working = [&](int64_t ubatch) {
    return working_bytes(c, std::min(ubatch, n_ctx), n_ctx, input.n_threads, input.cpu_scratch);
  };
  const uint64_t usual = working(kLeast), ram = input.machine.ram;
  const uint64_t cache = LatentPool::bytes_for(c, input.cache_format, input.n_sequences * LatentPool::pages_for(n_ctx));
  const uint64_t all = weight_bytes(model) + cache + usual;
  const bool fits = all <= ram;
  int64_t ubatch = fits ? wanted(c) : kMost;
  for (; ubatch > kLeast; ubatch /= 2) {
    const uint64_t more = working(ubatch) - usual;
    if (more <= ram / 16 && (!fits || 2 * more <= ram - all)) break;
  }
  return std::min(ubatch, n_ctx);
}

}  // namespace hearth
