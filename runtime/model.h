// The model: the paper, written once. Weights are views of the mapped file; the only state of a conversation is its
// KvCache.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "kernels/ops.h"
#include "quant/gguf.h"
#include "runtime/config.h"
#include "runtime/tokenizer.h"

namespace hearth {

struct ModelOptions {
  const Ops* ops = nullptr;
  int n_threads = 1;
  int64_t n_ctx = 0;                       // 0: the model's limit, at most 32768 by default
  FormatId cache_format = FormatId::bf16;  // or f32
  int64_t ubatch = 512;                    // tokens run at once in prefill
  enum class Attention { automatic, absorbed, naive } attention = Attention::automatic;  // forced in tests
};

// The latent cache of one conversation: [n_layers][n_ctx][kv_lora_rank + qk_rope_head_dim].
class KvCache {
 public:
  KvCache(const ModelConfig& config, const Ops& ops, FormatId format, int64_t n_ctx);
  ~KvCache();
  KvCache(KvCache&& other) noexcept;
  KvCache& operator=(KvCache&&) = delete;

  int64_t length() const { return length_; }  // positions that hold something
  int64_t capacity() const { return n_ctx_; }
  void truncate(int64_t length);  // forgets everything from there on
  void advance(int64_t n);
  LatentCache layer(int64_t i) const;
  size_t bytes() const;

 private:
  const Ops* ops_;
  FormatId format_;
  int64_t n_layers_, n_ctx_, kv_lora_rank_, rope_dim_, length_ = 0;
  std::byte* data_ = nullptr;
};

class Model {
 public:
  // Checks every tensor's presence, shape and format before anything runs. Throws Error(model) or Error(resource).
  Model(GgufFile file, const ModelOptions& options);
  ~Model();
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;

  const GgufFile& file() const;
  const ModelConfig& config() const;
  const ModelOptions& options() const;  // with defaults filled in
  KvCache new_cache() const;

  // Runs `tokens` at the next positions of `cache`, in slices of ubatch. logits: [V] of the last token, or [T,V] of all
  // when `all_logits`; empty span: none wanted. `progress` is told the tokens done after each slice; returning false
  // stops there (the cache then holds what was done) and run returns false. Throws Error(resource): context is full,
  // Error(usage): a token id outside the vocabulary.
  bool run(std::span<const Token> tokens, KvCache& cache, std::span<float> logits, bool all_logits = false,
           const std::function<bool(int64_t done)>& progress = {});

  // Bytes of weights that one decoded token reads (active parameters), for the decode floor.
  uint64_t active_bytes() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace hearth
