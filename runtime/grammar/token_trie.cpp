#include "runtime/grammar/token_trie.h"

#include <algorithm>
#include <bit>

#include "runtime/grammar/escaped_char.h"

namespace hearth::grammar {
namespace {

// How many characters of a JSON string the bytes begin; -1: they cannot stand in one, between characters.
int characters_of(const std::string& bytes) {
  EscapedChar at;
  int n = 0;
  for (const char c : bytes) {
    n += at.between();
    const auto step = at.step(static_cast<uint8_t>(c));
    if (!step) return -1;
    at = step->then;
  }
  return n;
}

size_t common_prefix(const std::string& a, const std::string& b) {
  return static_cast<size_t>(std::mismatch(a.begin(), a.end(), b.begin(), b.end()).first - a.begin());
}

}  // namespace

size_t TokenMask::count() const {
  size_t n = 0;
  for (const uint64_t word : words_) n += static_cast<size_t>(std::popcount(word));
  return n;
}

TokenTrie::TokenTrie(size_t n_rows, const std::function<std::string(Token)>& bytes_of, std::vector<Token> ends)
    : n_rows_(n_rows), ends_(std::move(ends)), bytes_(n_rows) {
  std::vector<std::pair<std::string, Token>> plain, quoted;
  std::vector<std::vector<Token>> by_characters;
  for (size_t i = 0; i < n_rows; ++i) {
    const auto token = static_cast<Token>(i);
    if (std::find(ends_.begin(), ends_.end(), token) != ends_.end()) continue;
    const std::string& bytes = bytes_[i] = bytes_of(token);
    if (bytes.empty()) continue;
    const bool has_quote = bytes.find('"') != bytes.npos;
    (has_quote ? quoted : plain).emplace_back(bytes, token);
    const int n = has_quote ? -1 : characters_of(bytes);
    if (n < 0) continue;
    if (by_characters.size() <= static_cast<size_t>(n)) by_characters.resize(static_cast<size_t>(n) + 1);
    by_characters[static_cast<size_t>(n)].push_back(token);
  }
  plain_ = tree_of(std::move(plain));
  quoted_ = tree_of(std::move(quoted));
  characters_.emplace_back(n_rows);
  for (size_t n = 1; n < by_characters.size(); ++n) {
    characters_.push_back(characters_.back());
    for (const Token token : by_characters[n]) characters_.back().add(token);
  }
}

TokenTrie::Tree TokenTrie::tree_of(std::vector<std::pair<std::string, Token>> tokens) {
  std::sort(tokens.begin(), tokens.end());
  Tree tree;
  std::vector<uint32_t> open;  // nodes from the root to the last token
  const auto close_to = [&](size_t depth) {
    for (; open.size() > depth; open.pop_back()) tree.nodes[open.back()].end = static_cast<uint32_t>(tree.nodes.size());
  };
  std::string last;
  for (const auto& [bytes, token] : tokens) {
    close_to(common_prefix(last, bytes));
    while (open.size() < bytes.size()) {
      open.push_back(static_cast<uint32_t>(tree.nodes.size()));
      tree.nodes.push_back({0, static_cast<uint32_t>(tree.tokens.size()), 0, static_cast<uint16_t>(open.size()),
                            static_cast<uint8_t>(bytes[open.size() - 1])});
    }
    ++tree.nodes[open.back()].n_tokens;
    tree.tokens.push_back(token);
    tree.depth = std::max(tree.depth, bytes.size());
    last = bytes;
  }
  close_to(0);
  return tree;
}

}  // namespace hearth::grammar
