#include "runtime/grammar/name_trie.h"

#include <bit>

#include "runtime/grammar/json_value.h"

namespace hearth::grammar {

void NameBits::add(const NameBits& others) {
  for (size_t i = 0; i < words_.size(); ++i) words_[i] |= others.words_[i];
}

size_t NameBits::count() const {
  size_t n = 0;
  for (const uint64_t word : words_) n += static_cast<size_t>(std::popcount(word));
  return n;
}

NameBits NameBits::without(const NameBits& others) const {
  NameBits rest = *this;
  for (size_t i = 0; i < words_.size(); ++i) rest.words_[i] &= ~others.words_[i];
  return rest;
}

bool NameBits::meets(const NameBits& others) const {
  for (size_t i = 0; i < words_.size(); ++i)
    if (words_[i] & others.words_[i]) return true;
  return false;
}

NameTrie::NameTrie(const std::vector<std::string>& names) : n_names_(names.size()) {
  nodes_.push_back({{}, -1, NameBits(n_names_)});
  for (size_t i = 0; i < names.size(); ++i) {
    uint32_t at = 0;
    nodes_[at].below.add(i);
    for (const uint32_t c : code_points_of(names[i])) {
      const auto [it, added] = nodes_[at].children.try_emplace(c, static_cast<uint32_t>(nodes_.size()));
      at = it->second;
      if (added) nodes_.push_back({{}, -1, NameBits(n_names_)});
      nodes_[at].below.add(i);
    }
    nodes_[at].name = static_cast<int>(i);
  }
}

uint32_t NameTrie::next(uint32_t state, uint32_t code_point) const {
  const auto found = nodes_[state].children.find(code_point);
  return found == nodes_[state].children.end() ? kNowhere : found->second;
}

bool NameTrie::alive_within(uint32_t state, uint32_t first, uint32_t last) const {
  const auto found = nodes_[state].children.lower_bound(first);
  return found != nodes_[state].children.end() && found->first <= last;
}

NameBits NameTrie::names_within(uint32_t state, const EscapedChar::Ranges& ranges) const {
  NameBits names(n_names_);
  const auto& children = nodes_[state].children;
  for (const auto& [first, last] : ranges)
    for (auto it = children.lower_bound(first); it != children.end() && it->first <= last; ++it)
      names.add(nodes_[it->second].below);
  return names;
}

const NameBits& NameStates::possible(int32_t state) {
  while (possible_.size() < states_.size()) {
    const auto& next = states_.state(static_cast<int32_t>(possible_.size()));
    possible_.push_back(next.partial.between() ? trie_.names_below(next.inner)
                                               : trie_.names_within(next.inner, next.partial.possible()));
  }
  return possible_[static_cast<size_t>(state)];
}

}  // namespace hearth::grammar
