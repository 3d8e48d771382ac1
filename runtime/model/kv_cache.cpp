#include "runtime/model/kv_cache.h"

#include <cassert>

#include "quant/round_up.h"

namespace hearth {
namespace {

size_t aligned_layer_bytes(const ModelConfig& config, FormatId format, int64_t n_ctx) {
  require(format == FormatId::bf16 || format == FormatId::f32, ErrorKind::usage,
          "the cache's format: expected BF16 or F32, found {}", format_of(format).name);
  return round_up(size_t(n_ctx) * format_of(format).bytes(config.cache_width()), 64);
}

}  // namespace

KvCache::KvCache(const ModelConfig& config, Device& device, FormatId format, int64_t n_ctx)
    : format_(format),
      n_ctx_(n_ctx),
      kv_lora_rank_(config.kv_lora_rank),
      rope_dim_(config.qk_rope_head_dim),
      layer_bytes_(aligned_layer_bytes(config, format, n_ctx)),
      buffer_(device, layer_bytes_ * size_t(config.n_layers), "the latent cache") {}

size_t KvCache::bytes_for(const ModelConfig& config, FormatId format, int64_t n_ctx) {
  return aligned_layer_bytes(config, format, n_ctx) * size_t(config.n_layers);
}

void KvCache::truncate(int64_t length) {
  assert(length >= 0 && length <= length_);
  length_ = length;
}

void KvCache::advance(int64_t n) {
  assert(n >= 0 && length_ + n <= n_ctx_);
  length_ += n;
}

LatentCache KvCache::layer(int64_t i, std::byte* const* base) const {
  const size_t offset = size_t(i) * layer_bytes_;
  return {buffer_.data() + offset, format_, n_ctx_, kv_lora_rank_, rope_dim_, base, offset};
}

}  // namespace hearth
