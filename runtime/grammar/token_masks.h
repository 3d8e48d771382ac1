// Which tokens of a vocabulary may come next in a text.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <unordered_map>
#include <vector>

#include "runtime/grammar/grammar.h"
#include "runtime/grammar/token_trie.h"

namespace hearth::grammar {

// Masks of parts of a state, which come back in other states: by a number of the grammar's own.
using PartMasks = std::unordered_map<uint64_t, TokenMask>;

// For one grammar and one vocabulary; belongs to the grammar's thread. Remembers the masks of states that come back.
class TokenMasks {
 public:
  TokenMasks(std::shared_ptr<const Grammar> grammar, std::shared_ptr<const TokenTrie> tokens);

  // The tokens all of whose bytes may come next, and those that end a text where it may end. Never empty where the
  // matcher is not dead, as far as the vocabulary has a token for each byte. Valid until the next call.
  const TokenMask& mask(const Matcher& matcher);
  // The matcher after a token of its mask. False: the token may not come, and the matcher is dead. A token that ends
  // the text changes nothing.
  bool advance(Matcher& matcher, Token token) const;

  const Matcher& start() const { return start_; }

 private:
  struct Kept {
    std::unique_ptr<GrammarState> state;
    TokenMask mask;
  };
  std::shared_ptr<const TokenTrie> tokens_;
  Matcher start_;
  std::unordered_multimap<uint64_t, Kept> kept_;
  PartMasks parts_;
};

}  // namespace hearth::grammar
