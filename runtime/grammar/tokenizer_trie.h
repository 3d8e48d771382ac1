// The vocabulary of a tokenizer, as masks need it.
#pragma once

#include <memory>
#include <vector>

#include "runtime/grammar/text_paths.h"
#include "runtime/grammar/token_trie.h"
#include "runtime/tokenizer/tokenizer.h"

namespace hearth::grammar {

// `n_rows`: of the logits. Padding rows and rows beyond the vocabulary never come, control tokens only where a part of
// a path names them (text_paths.h); those that end a text, and `also_end`, come exactly where it may end.
inline std::shared_ptr<const TokenTrie> token_trie_of(const Tokenizer& tokenizer, size_t n_rows,
                                                      std::vector<Token> also_end = {}) {
  std::vector<Token> ends = std::move(also_end);
  const size_t n = std::min(n_rows, tokenizer.size());
  for (size_t i = 0; i < n; ++i)
    if (tokenizer.ends_text(static_cast<Token>(i))) ends.push_back(static_cast<Token>(i));
  const auto bytes_of = [&](Token token) {
    if (static_cast<size_t>(token) >= n || tokenizer.is_unused(token)) return std::string();
    return tokenizer.is_control(token) ? control_mark(tokenizer.bytes_of(token, true)) : tokenizer.bytes_of(token);
  };
  return std::make_shared<TokenTrie>(n_rows, bytes_of, std::move(ends));
}

}  // namespace hearth::grammar
