// The latent cache of one conversation: what MLA keeps of every token, kv_lora_rank + qk_rope_head_dim values per layer
// (576), instead of all heads' keys and values.
#pragma once

#include "runtime/model/buffer.h"
#include "runtime/model/config.h"

namespace hearth {

// [n_layers][n_ctx][kv_lora_rank + qk_rope_head_dim]. A CPU backend's buffers are lazily zeroed pages: a context of
// 163840 costs address space at first, and memory as it fills.
class KvCache {
 public:
  // Throws Error(resource): no memory; Error(usage): a format other than bf16 and f32.
  KvCache(const ModelConfig& config, Device& device, FormatId format, int64_t n_ctx);
  // What such a cache takes. Throws Error(usage) as above.
  static size_t bytes_for(const ModelConfig& config, FormatId format, int64_t n_ctx);

  int64_t length() const { return length_; }  // positions that hold something
  int64_t capacity() const { return n_ctx_; }
  void truncate(int64_t length);  // forgets everything from there on
  void advance(int64_t n);        // n more positions were written in every layer
  // A layer of it. `base`: where a step that may be repeated for another cache finds in the device's memory where that
  // cache begins; null: it is for this one alone.
  LatentCache layer(int64_t i, std::byte* const* base = nullptr) const;
  std::byte* data() const { return buffer_.data(); }
  size_t bytes() const { return buffer_.bytes(); }

 private:
  FormatId format_;
  int64_t n_ctx_, kv_lora_rank_, rope_dim_, length_ = 0;
  size_t layer_bytes_;
  Buffer buffer_;
};

}  // namespace hearth
