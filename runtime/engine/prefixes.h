// Beginnings of sequences that nobody runs any more, kept because the next one may begin alike: a conversation goes on,
// or many have the same system prompt.
#pragma once

#include <cstdint>
#include <list>
#include <span>
#include <vector>

#include "runtime/model/kv_cache.h"
#include "runtime/support/token.h"

namespace hearth {

// How many tokens two sequences have in common at their beginnings.
size_t common_prefix(std::span<const Token> a, std::span<const Token> b);

class Prefixes {
 public:
  explicit Prefixes(LatentPool& pool) : pool_(pool) {}

  // Keeps what the cache holds: tokens [cache.length()]. What it makes superfluous goes.
  void keep(std::vector<Token> tokens, KvCache cache);

  // The one that shares most with `tokens`, and how much that is; {null, 0}: none.
  struct Found {
    const KvCache* cache = nullptr;
    size_t length = 0;
  };
  Found find(std::span<const Token> tokens);

  // Drops what is worth least until so many pages are free, for a sequence of so many tokens: first those that have no
  // more pages than it takes, the longest unused before the others. Of longer ones, which a short request must not
  // throw out, only ends are cut off, and no more than it takes. False: all are gone, and it is not enough.
  bool make_room(int64_t n_free, int64_t n_tokens);

  void clear() { kept_.clear(); }
  size_t size() const { return kept_.size(); }
  int64_t n_pages() const;  // that they have, each counted for everyone who shares it

 private:
  struct Kept {
    std::vector<Token> tokens;
    KvCache cache;
  };

  LatentPool& pool_;
  std::list<Kept> kept_;  // the longest unused first
};

}  // namespace hearth
