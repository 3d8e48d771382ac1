#include "runtime/model/activations.h"

#include <algorithm>
#include <cassert>

#include "quant/round_up.h"

namespace hearth {
namespace {

// Lays the views out in one block of memory; without memory it only measures.
class Layout {
 public:
  explicit Layout(std::byte* memory) : memory_(memory) {}

  template <class T>
  T* take(int64_t n) {
    const size_t at = used_;
    used_ += round_up(size_t(n) * sizeof(T), 64);
    return memory_ ? reinterpret_cast<T*>(memory_ + at) : nullptr;
  }
  template <class T = float>
  Mat<T> rows(int64_t n, int64_t cols) {
    return {take<T>(n * cols), n, cols};
  }
  Heads<float> heads(int64_t n, int64_t n_heads, int64_t width) {
    return {take<float>(n * n_heads * width), n, n_heads, width, n_heads * width, width};
  }
  size_t used() const { return used_; }

 private:
  std::byte* memory_;
  size_t used_ = 0;
};

Activations lay_out(Layout& m, const ModelConfig& c, int64_t T) {
  const int64_t absorbed = std::min(T, kAbsorbedTokens), K = c.routing.n_activated;
  return {
      .tokens = m.take<int32_t>(T),
      .positions = m.take<int32_t>(T),
      .sequences = m.take<int32_t>(T),
      .x = m.rows(T, c.dim),
      .h = m.rows(T, c.dim),
      .y = m.rows(T, c.dim),
      .attended = m.rows(1, c.dim),
      .q_a = m.rows(T, c.q_lora_rank),
      .q = m.rows(T, c.n_heads * c.qk_head_dim()),
      .kv_a = m.rows(T, c.cache_width()),
      .o = m.rows(T, c.n_heads * c.v_head_dim),
      .q_c = m.heads(absorbed, c.n_heads, c.kv_lora_rank),
      .o_c = m.heads(absorbed, c.n_heads, c.kv_lora_rank),
      .rounded = m.take<std::byte>(int64_t(Ops::OneToken::rounded_bytes(c.dim))),
      .ids = m.take<int32_t>(T * K),
      .weights = m.take<float>(T * K),
      .logits = m.rows(std::min(T, kHeadTokens), c.vocab_size),
      .left_out = m.take<uint32_t>(bit_words(c.vocab_size)),
      .best = m.rows<Entry>(std::min(T, kHeadTokens), std::min(c.vocab_size, kMostLargest)),
  };
}

}  // namespace

Activations Activations::first(int64_t n) const {
  assert(n <= x.rows);
  Activations a = *this;
  for (Mat<float>* m : {&a.x, &a.h, &a.y, &a.q_a, &a.q, &a.kv_a, &a.o}) *m = m->slice(0, n);
  a.q_c = q_c.slice(0, std::min(n, q_c.n_tokens));
  a.o_c = o_c.slice(0, std::min(n, o_c.n_tokens));
  return a;
}

ScratchLimits scratch_limits(const ModelConfig& c, int64_t max_tokens, int64_t n_ctx, int n_threads) {
  const int64_t shared = c.n_shared_experts * c.moe_inter_dim;
  return {.max_tokens = max_tokens,
          .max_width = std::max({c.dim, c.q_lora_rank, c.n_heads * c.qk_head_dim(), c.cache_width(), c.inter_dim,
                                 c.n_heads * c.v_head_dim, c.moe_inter_dim, shared}),
          .n_heads = c.n_heads,
          .kv_lora_rank = c.kv_lora_rank,
          .qk_nope_head_dim = c.qk_nope_head_dim,
          .qk_rope_head_dim = c.qk_rope_head_dim,
          .v_head_dim = c.v_head_dim,
          .dim = c.dim,
          .inter_dim = c.inter_dim,
          .moe_inter_dim = c.moe_inter_dim,
          .shared_inter_dim = shared,
          .n_experts = c.n_routed_experts,
          .n_activated = c.routing.n_activated,
          .n_ctx = n_ctx,
          .n_threads = n_threads};
}

size_t ActivationMemory::bytes_for(const ModelConfig& config, int64_t max_tokens) {
  Layout layout(nullptr);
  lay_out(layout, config, max_tokens);
  return layout.used();
}

ActivationMemory::ActivationMemory(const ModelConfig& config, Device& device, int64_t max_tokens)
    : buffer_(device, bytes_for(config, max_tokens), "the activations") {
  Layout layout(buffer_.data());
  all_ = lay_out(layout, config, max_tokens);
}

}  // namespace hearth
