// What flows between the equations of one step. Allocated once, for the largest step.
#pragma once

#include <cstddef>
#include <cstdint>

#include "runtime/model/buffer.h"
#include "runtime/model/config.h"

namespace hearth {

// Absorbed attention widens every head's query to the latent (H * r values per token: 0.26 MB in V2), so it takes the
// tokens of a step in slices of this many.
inline constexpr int64_t kAbsorbedTokens = 64;
// The head widens a row to the vocabulary (0.5 MB in V3), so wanted logits are computed this many rows at a time.
inline constexpr int64_t kHeadTokens = 32;

// Words that have a bit for each of n things.
constexpr int64_t bit_words(int64_t n) {
  return (n + 31) / 32;
}

// Views of T rows each. Letters as in quant/gguf_keys.h.
struct Activations {
  int32_t *tokens, *positions;  // [T]
  int32_t* sequences;           // [T]: which of the step's sequences each token belongs to
  Mat<float> x;                 // [T, d]: the residual stream, the only thing that walks through the layers
  Mat<float> h;                 // [T, d]: x after a norm
  Mat<float> y;                 // [T, d]: what a sublayer adds to x
  Mat<float> attended;          // [1, d]: what attention adds to the x of one token, beside what is in y
  Mat<float> q_a;               // [T, Q]
  Mat<float> q;                 // [T, H (dn + dr)]
  Mat<float> kv_a;              // [T, r + dr]
  Mat<float> o;                 // [T, H dv]
  Heads<float> q_c, o_c;        // [min(T, kAbsorbedTokens), H, r]
  std::byte* rounded;           // h of one token (Ops::OneToken::norm)
  int32_t* ids;                 // [T, K]
  float* weights;               // [T, K]
  Mat<float> logits;            // [min(T, kHeadTokens), V]
  uint32_t* left_out;           // [bit_words(V)]: a bit for each token that is none of the best
  Mat<Entry> best;              // [min(T, kHeadTokens), min(V, kMostLargest)]: the best of those

  int64_t n_tokens() const { return x.rows; }
  Activations first(int64_t n) const;  // of a step of n tokens, n <= T
};

// What the operations of steps of at most max_tokens are to expect, for Ops::scratch_bytes and Ops::refuses.
ScratchLimits scratch_limits(const ModelConfig& config, int64_t max_tokens, int64_t n_ctx, int n_threads);

class ActivationMemory {
 public:
  ActivationMemory(const ModelConfig& config, Device& device, int64_t max_tokens);
  static size_t bytes_for(const ModelConfig& config, int64_t max_tokens);
  Activations step(int64_t n_tokens) const { return all_.first(n_tokens); }
  size_t bytes() const { return buffer_.bytes(); }

 private:
  Buffer buffer_;
  Activations all_;
};

}  // namespace hearth
