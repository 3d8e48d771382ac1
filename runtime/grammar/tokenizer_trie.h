// The vocabulary of a tokenizer, as masks need it.
#pragma once

#include <memory>
#include <vector>

#include "runtime/grammar/token_trie.h"
#include "runtime/tokenizer/tokenizer.h"

namespace hearth::grammar {

// `n_rows`: of the logits. Control tokens, padding rows and rows beyond the vocabulary never come; those that end a
// text come exactly where it may end.
inline std::shared_ptr<const TokenTrie> token_trie_of(const Tokenizer& tokenizer, size_t n_rows) {
  std::vector<Token> ends;
  const size_t n = std::min(n_rows, tokenizer.size());
  for (size_t i = 0; i < n; ++i)
    if (tokenizer.ends_text(static_cast<Token>(i))) ends.push_back(static_cast<Token>(i));
  const auto bytes_of = [&](Token token) {
    const bool text = static_cast<size_t>(token) < n && !tokenizer.is_control(token) && !tokenizer.is_unused(token);
    return text ? tokenizer.bytes_of(token) : std::string();
  };
  return std::make_shared<TokenTrie>(n_rows, bytes_of, std::move(ends));
}

}  // namespace hearth::grammar
