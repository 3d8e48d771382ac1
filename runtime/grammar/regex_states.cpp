// Expressions as states: derivatives, and what can be said of the texts that are left.
#include <algorithm>

#include "runtime/grammar/json_value.h"
#include "runtime/grammar/regex.h"

namespace hearth::grammar {

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
    return rest == kUnbounded ? rest : rest + 1;
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
