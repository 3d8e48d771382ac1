// Whether arrays and objects that were begun can be finished.
#include <algorithm>

#include "runtime/grammar/json_program.h"

namespace hearth::grammar {

bool count_item(const ArrayForm& form, uint32_t subset, uint32_t& index, std::vector<uint32_t>& counted) {
  if (index >= form.most) return false;
  for (size_t j = 0; j < form.counts.size(); ++j) {
    const ArrayForm::Count& count = form.counts[j];
    if (!(subset >> j & 1)) continue;
    if (counted[j] == count.most) return false;
    if (count.most != kUnbounded || counted[j] < count.least) ++counted[j];
  }
  const uint32_t enough = form.most != kUnbounded ? form.most : std::max(form.least, form.last_position());
  index = std::min(index + 1, enough);
  return true;
}

bool can_finish(ArrayForm& form, uint32_t index, const std::vector<uint32_t>& counted) {
  if (form.counts.empty()) {
    for (uint32_t i = index; i < std::min(form.least, form.last_position()); ++i)
      if (form.items[i][0] == kNoNode) return false;
    return index >= form.least || form.least <= form.last_position() || form.items.back()[0] != kNoNode;
  }
  bool enough = index >= form.least;
  for (size_t j = 0; j < form.counts.size(); ++j) enough &= counted[j] >= form.counts[j].least;
  if (enough) return true;
  std::vector<uint32_t> key = counted;
  key.push_back(index);
  const auto [known, added] = form.known_to_end.try_emplace(key, false);
  if (!added) return known->second;
  const Choices& choices = form.at(index);
  for (uint32_t subset = static_cast<uint32_t>(choices.size()); subset-- > 0;) {
    if (choices[subset] == kNoNode) continue;
    uint32_t next = index;
    std::vector<uint32_t> then = counted;
    if (!count_item(form, subset, next, then) || (next == index && then == counted)) continue;
    if (can_finish(form, next, then)) return form.known_to_end[key] = true;
  }
  return false;
}

namespace {

// The least number of members outside of `used` that meet `pending`; those demanded cost nothing.
uint32_t cost(const ObjectForm& form, const NameBits& seen, const NameBits& used, uint32_t pending) {
  if (pending == 0) return 0;
  uint32_t best = kNoNode;
  const uint32_t first = pending & -pending;
  const auto consider = [&](const Choices& choices, uint32_t price, const NameBits& then) {
    for (uint32_t subset = pending; subset > 0; subset = (subset - 1) & pending) {
      if (!(subset & first) || choices[subset] == kNoNode) continue;
      const uint32_t rest = cost(form, seen, then, pending & ~subset);
      if (rest != kNoNode) best = std::min(best, rest + price);
    }
  };
  for (size_t i = 0; i < form.names.size(); ++i) {
    if (seen.has(i) || used.has(i)) continue;
    NameBits then = used;
    then.add(i);
    consider(form.values[i], form.demanded.has(i) ? 0 : 1, then);
  }
  for (const auto& other : form.others) consider(other.values, 1, used);
  return best;
}

}  // namespace

uint32_t members_needed(const ObjectForm& form, const NameBits& seen, uint32_t pending) {
  const auto demanded = static_cast<uint32_t>(form.demanded.without(seen).count());
  if (pending == 0) return demanded;
  const uint32_t more = cost(form, seen, NameBits(form.names.size()), pending);
  return more == kNoNode ? kNoNode : demanded + more;
}

}  // namespace hearth::grammar
