#include "runtime/grammar/regex.h"

#include <algorithm>

#include "quant/error.h"
#include "runtime/grammar/json_value.h"

namespace hearth::grammar {
namespace {

// Of one grammar: some 40 MB. What needs more is a pattern whose automaton explodes.
constexpr size_t kMostNodes = 200'000;
constexpr size_t kWidest = 2'000;  // alternatives in one state

uint64_t mix(uint64_t hash, uint64_t value) {
  return (hash ^ (value + 0x9E3779B97F4A7C15u)) * 0xFF51AFD7ED558CCDu;
}

uint32_t sum(uint32_t a, uint32_t b) {
  return static_cast<uint32_t>(std::min<uint64_t>(uint64_t{a} + b, kUnbounded));
}
uint32_t product(uint32_t a, uint32_t b) {
  if (a == 0 || b == 0) return 0;
  return a == kUnbounded || b == kUnbounded ? kUnbounded
                                            : static_cast<uint32_t>(std::min<uint64_t>(uint64_t{a} * b, kUnbounded));
}

void sort_unique(std::vector<Regex>& parts) {
  std::sort(parts.begin(), parts.end());
  parts.erase(std::unique(parts.begin(), parts.end()), parts.end());
}

}  // namespace

RegexPool::RegexPool() {
  intern({Kind::nothing, false, false, true, 0, 0, 0, {}});
  intern({Kind::empty, true, true, true, 0, 0, 0, {}});
  sets_.push_back(CodePointSet::all());
  set_numbers_[sets_[0]] = 0;
  // Its part gets the number after it, and is interned before anybody asks.
  intern({Kind::repeat, true, true, true, 0, kUnbounded, kUnbounded, {4}});
  intern({Kind::end, true, false, false, 0, 0, 0, {}});
  intern({Kind::characters, false, false, true, 0, 0, 1, {}});
}

Regex RegexPool::intern(Node node) {
  uint64_t hash = mix(static_cast<uint64_t>(node.kind), uint64_t{node.least} << 32 | node.most);
  for (const Regex part : node.parts) hash = mix(hash, part);
  const auto [begin, end] = interned_.equal_range(hash);
  for (auto it = begin; it != end; ++it) {
    const Node& old = nodes_[it->second];
    if (old.kind == node.kind && old.least == node.least && old.most == node.most && old.parts == node.parts)
      return it->second;
  }
  require(nodes_.size() < kMostNodes, ErrorKind::resource, "patterns need more than {} states", kMostNodes);
  const auto number = static_cast<Regex>(nodes_.size());
  nodes_.push_back(std::move(node));
  rows_.emplace_back();
  life_.push_back(Life::unknown);
  interned_.emplace(hash, number);
  return number;
}

Regex RegexPool::characters(CodePointSet set) {
  if (set.empty()) return kNothing;
  const auto [it, added] = set_numbers_.try_emplace(std::move(set), static_cast<uint32_t>(sets_.size()));
  if (added) sets_.push_back(it->first);
  return intern({Kind::characters, false, false, true, it->second, 0, 1, {}});
}

Regex RegexPool::concat(Regex first, Regex then) {
  if (first == kNothing || then == kNothing) return kNothing;
  if (first == kEmptyText) return then;
  if (then == kEmptyText) return first;
  if (first == kEndMark) return nodes_[then].accepts ? kEndMark : kNothing;
  if (first == kAnyText && then == kAnyText) return first;
  if (nodes_[first].kind == Kind::concat) {
    const Regex head = nodes_[first].parts[0], rest = concat(nodes_[first].parts[1], then);
    return concat(head, rest);
  }
  const Node &a = nodes_[first], &b = nodes_[then];
  return intern({Kind::concat,
                 a.accepts && b.accepts,
                 a.accepts_inside && b.accepts_inside,
                 a.simple && b.simple,
                 0,
                 0,
                 sum(a.longest, b.longest),
                 {first, then}});
}

Regex RegexPool::either(std::vector<Regex> parts) {
  std::vector<Regex> flat;
  CodePointSet set;
  for (const Regex part : parts) {
    const Node& node = nodes_[part];
    if (part == kAnyText) return kAnyText;
    if (node.kind == Kind::either)
      flat.insert(flat.end(), node.parts.begin(), node.parts.end());
    else if (part != kNothing)
      flat.push_back(part);
  }
  sort_unique(flat);
  std::vector<Regex> kept;
  size_t n_sets = 0;
  for (const Regex part : flat) n_sets += nodes_[part].kind == Kind::characters;
  for (const Regex part : flat) {
    if (n_sets > 1 && nodes_[part].kind == Kind::characters)
      set = set.united(sets_[nodes_[part].least]);
    else
      kept.push_back(part);
  }
  if (n_sets > 1) kept.push_back(characters(std::move(set)));
  sort_unique(kept);
  if (kept.empty()) return kNothing;
  if (kept.size() == 1) return kept[0];
  require(kept.size() <= kWidest, ErrorKind::resource, "a pattern has more than {} alternatives at once", kWidest);
  Node node{Kind::either, false, false, true, 0, 0, 0, kept};
  for (const Regex part : kept) {
    const Node& own = nodes_[part];
    node.accepts |= own.accepts;
    node.accepts_inside |= own.accepts_inside;
    node.simple &= own.simple;
    node.longest = std::max(node.longest, own.longest);
  }
  return intern(std::move(node));
}

Regex RegexPool::both(std::vector<Regex> parts) {
  std::vector<Regex> flat;
  for (const Regex part : parts) {
    if (part == kNothing) return kNothing;
    if (nodes_[part].kind == Kind::both)
      flat.insert(flat.end(), nodes_[part].parts.begin(), nodes_[part].parts.end());
    else if (part != kAnyText)
      flat.push_back(part);
  }
  sort_unique(flat);
  if (flat.empty()) return kAnyText;
  if (flat.size() == 1) return flat[0];
  Node node{Kind::both, true, true, false, 0, 0, kUnbounded, flat};
  for (const Regex part : flat) {
    const Node& own = nodes_[part];
    node.accepts &= own.accepts;
    node.accepts_inside &= own.accepts_inside;
    node.longest = std::min(node.longest, own.longest);
  }
  return intern(std::move(node));
}

Regex RegexPool::complement(Regex of) {
  if (of == kNothing) return kAnyText;
  if (of == kAnyText) return kNothing;
  const Node& node = nodes_[of];
  if (node.kind == Kind::complement) return node.parts[0];
  return intern({Kind::complement, !node.accepts, !node.accepts_inside, false, 0, 0, kUnbounded, {of}});
}

Regex RegexPool::repeat(Regex what, uint32_t least, uint32_t most) {
  if (least > most) return kNothing;
  if (most == 0 || what == kEmptyText) return kEmptyText;
  if (what == kNothing) return least == 0 ? kEmptyText : kNothing;
  if (least == 1 && most == 1) return what;
  const Node& node = nodes_[what];
  if (node.kind == Kind::repeat && node.least <= 1 && node.most == kUnbounded)
    return repeat(node.parts[0], node.least == 0 || least == 0 ? 0 : least, kUnbounded);
  return intern({Kind::repeat,
                 least == 0 || node.accepts,
                 least == 0 || node.accepts_inside,
                 node.simple,
                 least,
                 most,
                 product(most, node.longest),
                 {what}});
}

Regex RegexPool::literal(std::string_view utf8) {
  return literals({std::string(utf8)});
}

Regex RegexPool::literals_from(const std::vector<std::vector<uint32_t>>& texts, size_t from, size_t to, size_t depth) {
  if (to - from == 1) {
    Regex rest = kEmptyText;
    for (size_t i = texts[from].size(); i > depth; --i) {
      const uint32_t c = texts[from][i - 1];
      rest = concat(characters(CodePointSet({{c, c}})), rest);
    }
    return rest;
  }
  std::vector<Regex> parts;
  for (size_t i = from; i < to;) {
    if (texts[i].size() == depth) {  // the shortest comes first
      parts.push_back(kEmptyText);
      ++i;
      continue;
    }
    const uint32_t c = texts[i][depth];
    size_t end = i;
    while (end < to && texts[end][depth] == c) ++end;
    parts.push_back(concat(characters(CodePointSet({{c, c}})), literals_from(texts, i, end, depth + 1)));
    i = end;
  }
  return either(std::move(parts));
}

Regex RegexPool::literals(std::vector<std::string> texts) {
  if (texts.empty()) return kNothing;
  std::vector<std::vector<uint32_t>> decoded;
  for (const std::string& text : texts) decoded.push_back(code_points_of(text));
  std::sort(decoded.begin(), decoded.end());
  decoded.erase(std::unique(decoded.begin(), decoded.end()), decoded.end());
  return literals_from(decoded, 0, decoded.size(), 0);
}

Regex RegexPool::any_of_length(uint32_t least, uint32_t most) {
  return repeat(characters(CodePointSet::all()), least, most);
}

Regex RegexPool::without_last_end(Regex of) {
  const Node node = nodes_[of];
  if (of == kEndMark) return kEmptyText;
  if (node.kind == Kind::concat) return concat(node.parts[0], without_last_end(node.parts[1]));
  if (node.kind != Kind::either) return of;
  std::vector<Regex> parts = node.parts;
  for (Regex& part : parts) part = without_last_end(part);
  return either(std::move(parts));
}

}  // namespace hearth::grammar
