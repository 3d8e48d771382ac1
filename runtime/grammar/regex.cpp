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

Regex RegexPool::derive(Regex of, uint32_t c) {
  const Kind kind = nodes_[of].kind;
  switch (kind) {
    case Kind::nothing:
    case Kind::empty:
    case Kind::end:
      return kNothing;
    case Kind::characters:
      return sets_[nodes_[of].least].contains(c) ? kEmptyText : kNothing;
    case Kind::concat: {
      const Regex first = nodes_[of].parts[0], then = nodes_[of].parts[1];
      const Regex stay = concat(derive(first, c), then);
      return nodes_[first].accepts_inside ? either({stay, derive(then, c)}) : stay;
    }
    case Kind::complement:
      return complement(derive(nodes_[of].parts[0], c));
    case Kind::repeat: {
      const Regex what = nodes_[of].parts[0];
      const uint32_t least = nodes_[of].least, most = nodes_[of].most;
      const Regex rest = repeat(what, least == 0 ? 0 : least - 1, most == kUnbounded ? most : most - 1);
      return concat(derive(what, c), rest);
    }
    default: {
      std::vector<Regex> parts = nodes_[of].parts;
      for (Regex& part : parts) part = derive(part, c);
      return kind == Kind::either ? either(std::move(parts)) : both(std::move(parts));
    }
  }
}

void RegexPool::first_sets(Regex of, std::vector<uint32_t>& sets) const {
  const Node& node = nodes_[of];
  if (node.kind == Kind::characters) sets.push_back(node.least);
  for (const Regex part : node.parts) {
    first_sets(part, sets);
    if (node.kind == Kind::concat && !nodes_[part].accepts_inside) return;
  }
}

const RegexPool::Row& RegexPool::row(Regex state) {
  if (!rows_[state].from.empty()) return rows_[state];
  std::vector<uint32_t> sets;
  first_sets(state, sets);
  std::sort(sets.begin(), sets.end());
  sets.erase(std::unique(sets.begin(), sets.end()), sets.end());
  std::vector<uint32_t> borders = {0, 0xD800, 0xE000};
  for (const uint32_t set : sets)
    for (const auto& [first, last] : sets_[set].ranges()) {
      borders.push_back(first);
      borders.push_back(last + 1);
    }
  std::sort(borders.begin(), borders.end());
  borders.erase(std::unique(borders.begin(), borders.end()), borders.end());
  Row made;
  std::unordered_map<uint64_t, Regex> by_membership;  // code points that lie in the same sets have the same derivative
  for (const uint32_t border : borders) {
    if (border > 0x10FFFF) continue;
    Regex to = kNothing;
    if (border < 0xD800 || border >= 0xE000) {
      uint64_t membership = 0;
      if (sets.size() <= 64) {
        for (size_t i = 0; i < sets.size(); ++i) membership |= uint64_t{sets_[sets[i]].contains(border)} << i;
        const auto [it, added] = by_membership.try_emplace(membership, kNothing);
        if (added) it->second = derive(state, border);
        to = it->second;
      } else {
        to = derive(state, border);
      }
    }
    if (!made.to.empty() && made.to.back() == to) continue;
    made.from.push_back(border);
    made.to.push_back(to);
  }
  return rows_[state] = std::move(made);
}

Regex RegexPool::next(Regex state, uint32_t code_point) {
  if (state == kAnyText) return state;
  const Row& own = row(state);
  return own
      .to[static_cast<size_t>(std::upper_bound(own.from.begin(), own.from.end(), code_point) - own.from.begin()) - 1];
}

bool RegexPool::alive(Regex state) {
  if (life_[state] != Life::unknown) return life_[state] == Life::alive;
  if (nodes_[state].simple || nodes_[state].accepts) {
    life_[state] = state == kNothing ? Life::dead : Life::alive;
    return state != kNothing;
  }
  std::vector<Regex> seen = {state};
  std::unordered_map<Regex, Regex> came_from = {{state, state}};
  for (size_t i = 0; i < seen.size(); ++i) {
    const std::vector<Regex> targets = row(seen[i]).to;
    for (const Regex to : targets) {
      if (life_[to] == Life::dead || !came_from.try_emplace(to, seen[i]).second) continue;
      if (life_[to] == Life::alive || nodes_[to].accepts || (nodes_[to].simple && to != kNothing)) {
        for (Regex at = to;; at = came_from[at]) {
          life_[at] = Life::alive;
          if (at == state) return true;
        }
      }
      seen.push_back(to);
    }
  }
  for (const Regex dead : seen) life_[dead] = Life::dead;
  return false;
}

bool RegexPool::alive_within(Regex state, uint32_t first, uint32_t last) {
  if (state == kAnyText) return true;
  const size_t begin = static_cast<size_t>(std::upper_bound(row(state).from.begin(), row(state).from.end(), first) -
                                           row(state).from.begin() - 1);
  for (size_t i = begin; i < row(state).from.size() && row(state).from[i] <= last; ++i) {
    const Regex to = row(state).to[i];
    if (alive(to)) return true;
  }
  return false;
}

bool RegexPool::same_within(Regex state, std::pair<uint32_t, uint32_t> range, Regex& to) {
  const Row& own = row(state);
  const auto after = std::upper_bound(own.from.begin(), own.from.end(), range.first);
  if (after != own.from.end() && *after <= range.second) return false;
  to = own.to[static_cast<size_t>(after - own.from.begin()) - 1];
  return true;
}

bool RegexPool::matches(Regex state, std::string_view utf8) {
  for (const uint32_t c : code_points_of(utf8)) state = next(state, c);
  return accepts(state);
}

uint64_t RegexPool::count(Regex state) {
  constexpr uint64_t kMany = 1'000'000'000;
  constexpr size_t kTooLong = 4'000;
  if (const auto known = counts_.find(state); known != counts_.end()) return known->second;
  if (!alive(state)) return counts_[state] = 0;
  // Depth first, with a stack of its own; a state that comes again below itself is a loop.
  struct Open {
    Regex state;
    size_t at;
    uint64_t sum;
  };
  std::vector<Open> open = {{state, 0, accepts(state)}};
  std::unordered_map<Regex, bool> below = {{state, true}};
  while (!open.empty()) {
    Open& top = open.back();
    const Row& own = row(top.state);
    if (top.at == own.to.size()) {
      const uint64_t total = top.sum >= kMany ? kInfinite : top.sum;
      counts_[top.state] = total;
      below.erase(top.state);
      open.pop_back();
      if (open.empty()) return total;
      --open.back().at;  // its turn again, now that the sum is known
      continue;
    }
    const Regex to = own.to[top.at];
    const uint32_t first = own.from[top.at], last = top.at + 1 < own.from.size() ? own.from[top.at + 1] - 1 : 0x10FFFF;
    ++top.at;
    if (to == kNothing || !alive(to)) continue;
    const auto known = counts_.find(to);
    if (known != counts_.end()) {
      top.sum =
          known->second >= kMany / (last - first + 1) ? kInfinite / 2 : top.sum + known->second * (last - first + 1);
      if (top.sum < kMany) continue;
    }
    if (known != counts_.end() || below.contains(to) || below.size() > kTooLong) {
      for (const Open& each : open) counts_[each.state] = kInfinite;
      return kInfinite;
    }
    below[to] = true;
    open.push_back({to, 0, accepts(to)});
  }
  return 0;
}

uint64_t RegexPool::count_within(Regex state, const std::vector<CodePointSet::Range>& ranges) {
  const Row own = row(state);
  uint64_t sum = 0;
  for (size_t i = 0; i < own.from.size(); ++i) {
    const uint32_t last = i + 1 < own.from.size() ? own.from[i + 1] - 1 : 0x10FFFF;
    uint64_t width = 0;
    for (const auto& [first, end] : ranges)
      if (std::max(first, own.from[i]) <= std::min(end, last))
        width += std::min(end, last) - std::max(first, own.from[i]) + 1;
    if (width == 0 || own.to[i] == kNothing) continue;
    const uint64_t each = count(own.to[i]);
    if (each == kInfinite) return kInfinite;
    sum += each * width;
  }
  return sum;
}

uint32_t RegexPool::free_run(Regex state) {
  const Node& node = nodes_[state];
  if (state == kAnyText) return kUnbounded;
  if (node.kind == Kind::repeat && node.parts[0] == 4) return node.most;
  if (node.kind == Kind::complement) return nodes_[node.parts[0]].longest == kUnbounded ? 0 : kUnbounded;
  if (node.kind == Kind::concat && node.parts[0] == 4) {
    const uint32_t rest = free_run(node.parts[1]);
    return sum(rest, 1);
  }
  // .* in front of anything that some text is in.
  if (node.kind == Kind::concat && node.parts[0] == kAnyText && nodes_[state].simple) return kUnbounded;
  if (node.kind == Kind::either) {
    uint32_t most = 0;
    for (const Regex part : node.parts) most = std::max(most, free_run(part));
    return most;
  }
  if (node.kind == Kind::both) {
    uint32_t least = kUnbounded;
    bool excludes = false;
    for (const Regex part : node.parts) {
      const Node& own = nodes_[part];
      const bool length = own.kind == Kind::repeat && own.parts[0] == 4;
      if (!length && own.kind != Kind::complement) return 0;
      excludes |= !length;
      least = std::min(least, free_run(part));
    }
    return excludes && least != kUnbounded && least > 0 ? least - 1 : least;
  }
  return 0;
}

bool RegexPool::is_repeated_characters(Regex state, Regex& what, uint32_t& most) const {
  const Node& node = nodes_[state];
  if (node.kind != Kind::repeat || nodes_[node.parts[0]].kind != Kind::characters) return false;
  what = node.parts[0];
  most = node.most;
  return true;
}

}  // namespace hearth::grammar
