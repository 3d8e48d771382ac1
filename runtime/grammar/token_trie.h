// A vocabulary as a tree of bytes, made once for a model: so that tokens with a common beginning are looked at
// together.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "runtime/support/token.h"

namespace hearth::grammar {

// A bit for each row of the logits: the token may come next.
class TokenMask {
 public:
  TokenMask() = default;
  explicit TokenMask(size_t n_rows) : n_rows_(n_rows), words_((n_rows + 63) / 64) {}
  bool has(Token token) const {
    return words_[static_cast<size_t>(token) / 64] >> (static_cast<size_t>(token) % 64) & 1;
  }
  void add(Token token) { words_[static_cast<size_t>(token) / 64] |= uint64_t{1} << (static_cast<size_t>(token) % 64); }
  void add(const TokenMask& others) {
    for (size_t i = 0; i < words_.size(); ++i) words_[i] |= others.words_[i];
  }
  void remove(const TokenMask& others) {
    for (size_t i = 0; i < words_.size(); ++i) words_[i] &= ~others.words_[i];
  }
  void keep(const TokenMask& others) {
    for (size_t i = 0; i < words_.size(); ++i) words_[i] &= others.words_[i];
  }
  size_t count() const;
  size_t n_rows() const { return n_rows_; }
  const std::vector<uint64_t>& words() const { return words_; }  // bit i of word w: token 64 w + i
  bool operator==(const TokenMask&) const = default;

 private:
  size_t n_rows_ = 0;
  std::vector<uint64_t> words_;
};

class TokenTrie {
 public:
  // `n_rows`: of the logits, padding included. `bytes_of`: what a token stands for, control_mark() of control
  // tokens; "" for those that must not come: padding, and rows that are no token. `ends`: tokens that end a text.
  TokenTrie(size_t n_rows, const std::function<std::string(Token)>& bytes_of, std::vector<Token> ends);

  // In the order of a walk from the root: children follow their parent, and `end` is where those of the node end.
  struct Node {
    uint32_t end;
    uint32_t first_token, n_tokens;  // of tokens(), which stand for exactly these bytes
    uint16_t depth;                  // bytes
    uint8_t byte;
  };
  struct Tree {
    std::vector<Node> nodes;
    std::vector<Token> tokens;
    size_t depth = 0;  // of the deepest node
  };
  const Tree& plain() const { return plain_; }    // tokens without '"'
  const Tree& quoted() const { return quoted_; }  // the others
  const std::vector<Token>& ends() const { return ends_; }
  size_t n_rows() const { return n_rows_; }
  const std::string& bytes(Token token) const { return bytes_[static_cast<size_t>(token)]; }

  // Tokens without '"' that within a JSON string, between two characters of it, begin `most` characters or fewer.
  const TokenMask& characters(size_t most) const { return characters_[std::min(most, characters_.size() - 1)]; }

 private:
  static Tree tree_of(std::vector<std::pair<std::string, Token>> tokens);

  size_t n_rows_;
  std::vector<Token> ends_;
  std::vector<std::string> bytes_;
  Tree plain_, quoted_;
  std::vector<TokenMask> characters_;
};

// Goes through a tree with states by depth: `step(from, byte, to)` says whether bytes may go on, and adds to `mask` the
// tokens whose bytes all may come. `states` holds tree.depth + 1, the first of which is where the walk begins.
template <class State, class Step>
void walk(const TokenTrie::Tree& tree, std::vector<State>& states, TokenMask& mask, Step step) {
  for (size_t i = 0; i < tree.nodes.size();) {
    const TokenTrie::Node& node = tree.nodes[i];
    if (!step(states[node.depth - 1u], node.byte, states[node.depth])) {
      i = node.end;
      continue;
    }
    for (uint32_t k = 0; k < node.n_tokens; ++k) mask.add(tree.tokens[node.first_token + k]);
    ++i;
  }
}

}  // namespace hearth::grammar
