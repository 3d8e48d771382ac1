#include "runtime/grammar/gbnf_machine.h"

#include <algorithm>
#include <unordered_set>

#include "quant/error.h"
#include "runtime/grammar/json_frame.h"

namespace hearth::grammar {
namespace {

constexpr size_t kMostPlaces = 30'000;  // some 40 MB with their rows; then tables begin anew
constexpr size_t kMostHeads = 2'000, kMostSteps = 100'000;
constexpr int32_t kNotAsked = -2;

using Kind = GbnfItem::Kind;

uint64_t hash_of(const GbnfStackPtr& stack) {
  return stack ? stack->hash : 0x5EED;
}
uint64_t hash_of(const GbnfHeads::Head& head) {
  return mixed(hash_of(head.stack), head.position);
}
uint64_t hash_of(const GbnfPlace& place) {
  return mixed(place.heads->hash, place.partial.bits());
}

}  // namespace

GbnfStack::GbnfStack(uint32_t position, uint32_t count, GbnfStackPtr parent)
    : position(position),
      count(count),
      parent(std::move(parent)),
      hash(mixed(hash_of(this->parent), uint64_t{position} << 32 | count)) {}

GbnfStack::~GbnfStack() {
  GbnfStackPtr at = std::move(parent);
  while (at && at.use_count() == 1) at = std::move(const_cast<GbnfStack&>(*at).parent);
}

bool same(const GbnfStackPtr& first, const GbnfStackPtr& second) {
  const GbnfStack *a = first.get(), *b = second.get();
  for (; a != b; a = a->parent.get(), b = b->parent.get())
    if (!a || !b || a->hash != b->hash || a->position != b->position || a->count != b->count) return false;
  return true;
}

bool same(const GbnfPlace& a, const GbnfPlace& b) {
  if (a.partial.bits() != b.partial.bits()) return false;
  if (a.heads == b.heads) return true;
  return a.heads->hash == b.heads->hash && a.heads->may_end == b.heads->may_end &&
         std::equal(a.heads->heads.begin(), a.heads->heads.end(), b.heads->heads.begin(), b.heads->heads.end(),
                    [](const auto& x, const auto& y) { return x.position == y.position && same(x.stack, y.stack); });
}

// Everything that may come next, from where rules are.
class GbnfMachine::Closure {
 public:
  explicit Closure(const GbnfRules& rules) : rules_(rules) {}

  void add(uint32_t position, GbnfStackPtr stack) {
    open_.push_back({position, std::move(stack)});
    while (!open_.empty()) {
      const GbnfHeads::Head next = std::move(open_.back());
      open_.pop_back();
      visit(next);
    }
  }
  void add_rule(uint32_t rule, const GbnfStackPtr& stack) {
    for (const uint32_t position : rules_.rules[rule]) add(position, stack);
  }

  std::shared_ptr<const GbnfHeads> done() {
    std::sort(found_.heads.begin(), found_.heads.end(),
              [](const auto& a, const auto& b) { return hash_of(a) < hash_of(b); });
    found_.hash = found_.may_end;
    for (const auto& head : found_.heads) found_.hash = mixed(found_.hash, hash_of(head));
    return std::make_shared<const GbnfHeads>(std::move(found_));
  }

 private:
  void visit(const GbnfHeads::Head& at) {
    if (!seen_.insert(hash_of(at)).second) return;
    require(seen_.size() <= kMostSteps && found_.heads.size() <= kMostHeads, ErrorKind::resource,
            "the grammar lets this be read in more than {} ways", kMostHeads);
    const GbnfItem& item = rules_.items[at.position];
    switch (item.kind) {
      case Kind::characters:
        found_.heads.push_back(at);
        return;
      case Kind::rule:
        // What ends with a rule needs no place of its own to go on.
        enter(item.what, rules_.items[at.position + 1].kind == Kind::end
                             ? at.stack
                             : std::make_shared<const GbnfStack>(at.position + 1, 0, at.stack));
        return;
      case Kind::repeat:
        if (item.least == 0) open_.push_back({at.position + 1, at.stack});
        if (item.most > 0) enter(item.what, std::make_shared<const GbnfStack>(at.position, 1, at.stack));
        return;
      case Kind::end:
        if (at.stack)
          leave(*at.stack);
        else
          found_.may_end = true;
        return;
    }
  }

  void enter(uint32_t rule, const GbnfStackPtr& stack) {
    for (const uint32_t position : rules_.rules[rule]) open_.push_back({position, stack});
  }

  void leave(const GbnfStack& stack) {
    const GbnfItem& item = rules_.items[stack.position];
    if (stack.count == 0) {  // a rule ended
      open_.push_back({stack.position, stack.parent});
      return;
    }
    if (stack.count >= item.least) open_.push_back({stack.position + 1, stack.parent});
    if (stack.count >= item.most) return;
    const uint32_t enough = item.most == kUnbounded ? std::max(item.least, 1u) : item.most;
    const uint32_t count = std::min(stack.count + 1, enough);
    enter(item.what, std::make_shared<const GbnfStack>(stack.position, count, stack.parent));
  }

  const GbnfRules& rules_;
  std::vector<GbnfHeads::Head> open_;
  std::unordered_set<uint64_t> seen_;
  GbnfHeads found_;
};

GbnfPlace GbnfMachine::start() {
  Closure closure(rules_);
  closure.add_rule(rules_.root, nullptr);
  return {closure.done(), {}};
}

std::shared_ptr<const GbnfHeads> GbnfMachine::after(const GbnfHeads& heads, uint32_t code_point) {
  Closure closure(rules_);
  for (const auto& head : heads.heads)
    if (rules_.sets[rules_.items[head.position].what].contains(code_point)) closure.add(head.position + 1, head.stack);
  return closure.done();
}

int32_t GbnfMachine::number(const GbnfPlace& place) {
  if (states_.size() > kMostPlaces) {
    states_.clear();
    numbers_.clear();
  }
  return intern(place);
}

int32_t GbnfMachine::intern(GbnfPlace place) {
  const uint64_t hash = hash_of(place);
  const auto [begin, end] = numbers_.equal_range(hash);
  for (auto it = begin; it != end; ++it)
    if (same(states_[static_cast<size_t>(it->second)].place, place)) return it->second;
  const auto number = static_cast<int32_t>(states_.size());
  states_.push_back({std::move(place), nullptr});
  numbers_.emplace(hash, number);
  return number;
}

int32_t GbnfMachine::step(int32_t from, uint8_t byte) {
  const auto at = static_cast<size_t>(from);
  if (!states_[at].row) {
    states_[at].row = std::make_unique<std::array<int32_t, 256>>();
    states_[at].row->fill(kNotAsked);
  }
  const int32_t known = (*states_[at].row)[byte];
  if (known != kNotAsked) return known;
  const int32_t found = compute(states_[at].place, byte);
  return (*states_[at].row)[byte] = found;
}

int32_t GbnfMachine::compute(GbnfPlace from, uint8_t byte) {
  const auto reached = [&](uint32_t code_point) {
    auto heads = after(*from.heads, code_point);
    return heads->heads.empty() && !heads->may_end ? -1 : intern({std::move(heads), {}});
  };
  if (from.partial.between() && byte < 0x80) return reached(byte);
  const auto step = from.partial.step(byte);
  if (!step) return -1;
  if (from.partial.is_forgotten()) return intern({from.heads, step->then});
  if (step->finished()) return reached(step->character);
  // Where all heads take all of the characters that it may become, or none of them, they are one.
  const auto whole = step->then.whole_range();
  bool alike = whole.has_value(), any = false;
  for (const auto& head : from.heads->heads) {
    const CodePointSet& set = rules_.sets[rules_.items[head.position].what];
    for (const auto& [first, last] : step->then.possible()) {
      const CodePointSet common = set.intersected(CodePointSet({{first, last}}));
      any = any || !common.empty();
      alike = alike && (common.empty() || (whole && common.ranges() == std::vector{*whole}));
    }
  }
  if (!any) return -1;
  if (!alike) return intern({from.heads, step->then});
  return intern({after(*from.heads, whole->first), step->then.forgotten()});
}

}  // namespace hearth::grammar
