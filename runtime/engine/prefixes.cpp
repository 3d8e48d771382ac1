#include "runtime/engine/prefixes.h"

#include <algorithm>
#include <utility>

namespace hearth {

size_t common_prefix(std::span<const Token> a, std::span<const Token> b) {
  const size_t n = std::min(a.size(), b.size());
  return size_t(std::mismatch(a.begin(), a.begin() + ptrdiff_t(n), b.begin()).first - a.begin());
}

void Prefixes::keep(std::vector<Token> tokens, KvCache cache) {
  if (tokens.empty()) return;
  std::erase_if(kept_, [&](const Kept& old) { return common_prefix(old.tokens, tokens) == old.tokens.size(); });
  kept_.push_back({std::move(tokens), std::move(cache)});
}

Prefixes::Found Prefixes::find(std::span<const Token> tokens) {
  auto best = kept_.end();
  size_t length = 0;
  for (auto it = kept_.begin(); it != kept_.end(); ++it) {
    const size_t common = common_prefix(it->tokens, tokens);
    if (common > 0 && common >= length) best = it, length = common;
  }
  if (best == kept_.end()) return {};
  kept_.splice(kept_.end(), kept_, best);  // used now
  return {&best->cache, length};
}

bool Prefixes::make_room(int64_t n_free, int64_t n_tokens) {
  for (auto it = kept_.begin(); it != kept_.end() && pool_.n_free() < n_free;) {
    const bool longer = it->cache.pages().size() > size_t(LatentPool::pages_for(n_tokens));
    it = longer ? std::next(it) : kept_.erase(it);
  }
  while (pool_.n_free() < n_free && !kept_.empty()) {
    Kept& oldest = kept_.front();
    const int64_t pages = int64_t(oldest.cache.pages().size()) - 1;
    oldest.cache.truncate(pages * kPagePositions);
    oldest.tokens.resize(size_t(pages * kPagePositions));
    if (pages == 0) kept_.pop_front();
  }
  return pool_.n_free() >= n_free;
}

int64_t Prefixes::n_pages() const {
  int64_t n = 0;
  for (const Kept& kept : kept_) n += int64_t(kept.cache.pages().size());
  return n;
}

}  // namespace hearth
