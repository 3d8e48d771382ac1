#include "runtime/model/kv_cache.h"

#include <algorithm>
#include <cassert>
#include <numeric>

#include "quant/round_up.h"

namespace hearth {
namespace {

size_t row_bytes(const ModelConfig& config, FormatId format) {
  require(format == FormatId::bf16 || format == FormatId::f32, ErrorKind::usage,
          "the cache's format: expected BF16 or F32, found {}", format_of(format).name);
  return format_of(format).bytes(config.cache_width());
}

size_t aligned_layer_bytes(const ModelConfig& config, FormatId format, int64_t n_pages) {
  return round_up(size_t(n_pages * kPagePositions) * row_bytes(config, format), 64);
}

}  // namespace

LatentPool::LatentPool(const ModelConfig& config, Device& device, FormatId format, int64_t n_pages)
    : device_(device),
      format_(format),
      n_layers_(config.n_layers),
      kv_lora_rank_(config.kv_lora_rank),
      rope_dim_(config.qk_rope_head_dim),
      row_bytes_(row_bytes(config, format)),
      layer_bytes_(aligned_layer_bytes(config, format, n_pages)),
      buffer_(device, layer_bytes_ * size_t(config.n_layers), "the latent cache"),
      users_(size_t(n_pages)) {
  for (int32_t page = 0; page < n_pages; ++page) free_.push(page);
}

size_t LatentPool::bytes_for(const ModelConfig& config, FormatId format, int64_t n_pages) {
  return aligned_layer_bytes(config, format, n_pages) * size_t(config.n_layers);
}

int32_t LatentPool::take() {
  require(!free_.empty(), ErrorKind::resource, "the latent cache is full: all of its {} pages of {} positions are used",
          n_pages(), kPagePositions);
  const int32_t page = free_.top();
  free_.pop();
  users_[size_t(page)] = 1;
  return page;
}

void LatentPool::release(int32_t page) {
  assert(users_[size_t(page)] > 0);
  if (--users_[size_t(page)] == 0) free_.push(page);
}

void LatentPool::copy(int32_t from, int32_t to, int64_t n) {
  for (int64_t i = 0; i < n_layers_; ++i) {
    std::byte* layer = buffer_.data() + size_t(i) * layer_bytes_;
    device_.move(layer + size_t(from) * page_bytes(), layer + size_t(to) * page_bytes(), size_t(n) * row_bytes_);
  }
}

LatentCache LatentPool::layer(int64_t i) const {
  return {buffer_.data() + size_t(i) * layer_bytes_, format_, n_pages() * kPagePositions, kv_lora_rank_, rope_dim_};
}

KvCache::KvCache(KvCache&& other) noexcept
    : pool_(std::move(other.pool_)),
      capacity_(other.capacity_),
      length_(std::exchange(other.length_, 0)),
      pages_(std::exchange(other.pages_, {})) {}

KvCache& KvCache::operator=(KvCache&& other) noexcept {
  std::swap(pool_, other.pool_);
  std::swap(capacity_, other.capacity_);
  std::swap(length_, other.length_);
  std::swap(pages_, other.pages_);
  return *this;
}

void KvCache::drop_pages(size_t from) {
  while (pages_.size() > from) {
    pool_->release(pages_.back());
    pages_.pop_back();
  }
}

void KvCache::truncate(int64_t length) {
  assert(length >= 0 && length <= length_);
  length_ = length;
  drop_pages(size_t(LatentPool::pages_for(length)));
}

void KvCache::advance(int64_t n) {
  assert(n >= 0 && length_ + n <= int64_t(pages_.size()) * kPagePositions);
  length_ += n;
}

// Whether the page that the next of n positions is written into, behind what it holds already, is others' too.
bool KvCache::shares_last(int64_t n) const {
  return n > 0 && length_ % kPagePositions > 0 && pool_->is_shared(pages_[size_t(length_ / kPagePositions)]);
}

int64_t KvCache::pages_wanted(int64_t n) const {
  return std::max<int64_t>(LatentPool::pages_for(length_ + n) - int64_t(pages_.size()), 0) + shares_last(n);
}

void KvCache::reserve(int64_t n) {
  if (shares_last(n)) {
    int32_t& last = pages_[size_t(length_ / kPagePositions)];
    const int32_t own = pool_->take();
    pool_->copy(last, own, length_ % kPagePositions);
    pool_->release(std::exchange(last, own));
  }
  while (int64_t(pages_.size()) < LatentPool::pages_for(length_ + n)) pages_.push_back(pool_->take());
}

KvCache KvCache::fork(int64_t length) const {
  assert(length <= length_);
  KvCache other(pool_, capacity_);
  other.length_ = length;
  other.pages_.assign(pages_.begin(), pages_.begin() + LatentPool::pages_for(length));
  for (const int32_t page : other.pages_) pool_->share(page);
  return other;
}

}  // namespace hearth
