// The latent cache: what MLA keeps of every token, kv_lora_rank + qk_rope_head_dim values per layer (576), instead of
// all heads' keys and values.
//
// All sequences share one pool of pages of 64 positions. A sequence has a list of pages; those that begin alike may
// share them, and who writes into a shared page gets one of its own first.
#pragma once

#include <memory>
#include <queue>
#include <span>
#include <vector>

#include "runtime/model/buffer.h"
#include "runtime/model/config.h"

namespace hearth {

// [n_layers][n_pages * 64][kv_lora_rank + qk_rope_head_dim]. A CPU backend's buffers are lazily zeroed pages of the
// system's: a pool for 163840 positions costs address space at first, and memory as it fills. Pages are handed out from
// the lowest number on, so that it fills from one end.
class LatentPool {
 public:
  // Throws Error(resource): no memory; Error(usage): a format other than bf16 and f32.
  LatentPool(const ModelConfig& config, Device& device, FormatId format, int64_t n_pages);
  // What such a pool takes. Throws Error(usage) as above.
  static size_t bytes_for(const ModelConfig& config, FormatId format, int64_t n_pages);
  static int64_t pages_for(int64_t n_positions) { return (n_positions + kPagePositions - 1) / kPagePositions; }

  int64_t n_pages() const { return int64_t(users_.size()); }
  int64_t n_free() const { return int64_t(free_.size()); }
  // A page for one user; throws Error(resource): there is none left.
  int32_t take();
  void share(int32_t page) { ++users_[size_t(page)]; }  // by one more
  void release(int32_t page);                           // by one of its users
  bool is_shared(int32_t page) const { return users_[size_t(page)] > 1; }
  // The first n positions of a page, in every layer. Queued on the device.
  void copy(int32_t from, int32_t to, int64_t n);

  LatentCache layer(int64_t i) const;
  size_t bytes() const { return buffer_.bytes(); }
  size_t page_bytes() const { return size_t(kPagePositions) * row_bytes_; }  // of one layer

 private:
  Device& device_;
  FormatId format_;
  int64_t n_layers_, kv_lora_rank_, rope_dim_;
  size_t row_bytes_, layer_bytes_;
  Buffer buffer_;
  std::vector<int32_t> users_;  // of each page
  std::priority_queue<int32_t, std::vector<int32_t>, std::greater<>> free_;
};

// One sequence's part of the pool.
class KvCache {
 public:
  KvCache(std::shared_ptr<LatentPool> pool, int64_t capacity) : pool_(std::move(pool)), capacity_(capacity) {}
  ~KvCache() { drop_pages(0); }
  KvCache(KvCache&& other) noexcept;
  KvCache& operator=(KvCache&& other) noexcept;

  int64_t length() const { return length_; }  // positions that hold something
  int64_t capacity() const { return capacity_; }
  void truncate(int64_t length);  // forgets everything from there on
  void advance(int64_t n);        // n more positions, reserved before, were written in every layer
  // How many pages more are taken from the pool before n more positions can be written.
  int64_t pages_wanted(int64_t n) const;
  // Pages of its own for n more positions. Throws Error(resource): the pool has too few, and nothing is lost.
  void reserve(int64_t n);
  // Another sequence that begins with the first `length` positions of this one.
  KvCache fork(int64_t length) const;

  std::span<const int32_t> pages() const { return pages_; }

 private:
  void drop_pages(size_t from);
  bool shares_last(int64_t n) const;

  std::shared_ptr<LatentPool> pool_;
  int64_t capacity_, length_ = 0;
  std::vector<int32_t> pages_;
};

}  // namespace hearth
