// The names that a schema knows, letter by letter.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "runtime/grammar/escaped_char.h"
#include "runtime/grammar/string_states.h"

namespace hearth::grammar {

// A set of known names, by number.
class NameBits {
 public:
  NameBits() = default;
  explicit NameBits(size_t n) : words_((n + 63) / 64) {}
  bool has(size_t i) const { return words_[i / 64] >> (i % 64) & 1; }
  void add(size_t i) { words_[i / 64] |= uint64_t{1} << (i % 64); }
  void add(const NameBits& others);
  size_t count() const;
  NameBits without(const NameBits& others) const;
  bool meets(const NameBits& others) const;
  const std::vector<uint64_t>& words() const { return words_; }
  bool operator==(const NameBits&) const = default;

 private:
  std::vector<uint64_t> words_;
};

// An automaton over code points, as StringStates wants it, which remembers the names that a state may become.
class NameTrie {
 public:
  explicit NameTrie(const std::vector<std::string>& names);

  static constexpr uint32_t kNowhere = UINT32_MAX;
  uint32_t next(uint32_t state, uint32_t code_point) const;
  bool alive(uint32_t state) const { return state != kNowhere; }
  bool alive_within(uint32_t state, uint32_t first, uint32_t last) const;
  bool same_within(uint32_t, std::pair<uint32_t, uint32_t>, uint32_t&) const { return false; }
  bool accepts(uint32_t state) const { return nodes_[state].name >= 0; }
  int name(uint32_t state) const { return nodes_[state].name; }
  // The names that begin with what led to the state, and go on with one of these code points.
  NameBits names_within(uint32_t state, const EscapedChar::Ranges& ranges) const;
  const NameBits& names_below(uint32_t state) const { return nodes_[state].below; }

 private:
  struct Node {
    std::map<uint32_t, uint32_t> children;
    int name = -1;
    NameBits below;
  };
  size_t n_names_;
  std::vector<Node> nodes_;
};

// The same over the bytes of a JSON string.
class NameStates {
 public:
  explicit NameStates(const std::vector<std::string>& names) : trie_(names), states_(trie_) {}
  NameStates(const NameStates&) = delete;
  int32_t start() { return states_.start(0); }
  int32_t step(int32_t state, uint8_t byte) { return states_.step(state, byte); }
  const NameBits& possible(int32_t state);
  bool between(int32_t state) const { return states_.state(state).partial.between(); }

 private:
  NameTrie trie_;
  StringStates<NameTrie> states_;
  std::vector<NameBits> possible_;  // by state, as far as asked
};

}  // namespace hearth::grammar
