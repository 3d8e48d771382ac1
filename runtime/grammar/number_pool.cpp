#include "runtime/grammar/number_pool.h"

#include <algorithm>
#include <array>
#include <string>
#include <unordered_map>
#include <vector>

#include "runtime/grammar/number_clause.h"
#include "runtime/grammar/refusal.h"

namespace hearth::grammar {
namespace {

constexpr size_t kMostClauses = 500, kMostStates = 200'000;
constexpr std::string_view kBytes = "0123456789+-.eE";
constexpr int32_t kUnknown = -2;

// Whether JSON lets a number that began with `text` go on with `c`.
bool may_follow(std::string_view text, char c) {
  const NumberText so_far(text);
  const bool digit = c >= '0' && c <= '9';
  if (so_far.exponent) {
    const char last = text.back();
    return digit || ((last == 'e' || last == 'E') && (c == '+' || c == '-'));
  }
  if (so_far.whole.empty()) return digit || (c == '-' && text.empty());
  if (so_far.point) return digit || ((c == 'e' || c == 'E') && !so_far.fraction.empty());
  return (digit && so_far.whole != "0") || c == '.' || c == 'e' || c == 'E';
}

std::string digits_as_ones(const std::string& digits) {
  return digits.empty() ? "" : digits.size() == 1 ? "1" : "11";
}

}  // namespace

struct NumberPool::Impl {
  using Clauses = std::vector<NumberClause>;
  struct Set {
    Clauses clauses, mirrored;  // for texts without and with a sign
  };
  struct State {
    NumberSet set;
    std::string text;
    bool accepts;
    std::array<int32_t, 15> next;
  };
  std::vector<Set> sets;
  std::unordered_map<std::string, NumberSet> set_numbers;
  std::vector<State> states;
  std::unordered_map<std::string, int32_t> state_numbers;
  std::unordered_map<std::string, std::string> representatives;  // of texts with the same future

  NumberSet add(Clauses clauses) {
    if (clauses.size() > kMostClauses)
      throw Refusal("", fmt::format("a set of numbers in more than {} pieces", kMostClauses));
    std::sort(clauses.begin(), clauses.end(),
              [](const NumberClause& a, const NumberClause& b) { return a.text() < b.text(); });
    std::string key;
    Set set;
    std::string last;
    for (NumberClause& clause : clauses) {
      const std::string own = clause.text();
      if (own == last) continue;
      last = own;
      if (own == NumberClause{}.text()) {  // which has all the others
        key = own + ";";
        set.clauses = {NumberClause{}};
        break;
      }
      key += own + ";";
      set.clauses.push_back(std::move(clause));
    }
    const auto [it, added] = set_numbers.try_emplace(key, static_cast<NumberSet>(sets.size()));
    if (added) {
      for (const NumberClause& clause : set.clauses) set.mirrored.push_back(clause.mirrored());
      sets.push_back(std::move(set));
    }
    return it->second;
  }

  NumberSet add(NumberClause clause) { return add(Clauses{std::move(clause)}); }

  // The same future in fewer words, where digits no longer matter.
  std::string canonical(NumberSet set, const std::string& text) {
    const NumberText parsed(text);
    const Clauses& clauses = parsed.negative ? sets[set].mirrored : sets[set].clauses;
    const std::string sign = parsed.negative ? "-" : "";
    if (parsed.whole.empty()) return text;
    const bool zero = (parsed.whole + parsed.fraction).find_first_not_of('0') == std::string::npos;
    const auto free = [](const NumberClause& clause) { return clause.free_above_zero(); };
    const bool any_free = std::any_of(clauses.begin(), clauses.end(), free);
    if (parsed.exponent) {
      const std::string mantissa = zero ? "0"
                                   : any_free
                                       ? (parsed.scientific() ? "1" : "11")
                                       : text.substr(parsed.negative, text.find_first_of("eE") - parsed.negative);
      const size_t first = std::min(parsed.power.find_first_not_of('0'), parsed.power.size());
      std::string power = parsed.power.substr(first);
      if (!parsed.power.empty() && power.empty()) power = "0";
      const char* signed_power = !parsed.exponent_signed ? "" : parsed.exponent_negative ? "-" : "+";
      return sign + mantissa + "e" + signed_power + power;
    }
    if (zero) return any_free && !parsed.fraction.empty() ? sign + "0.0" : text;
    if (any_free)
      return sign + (parsed.point ? (parsed.fraction.empty() ? "1." : "1.1") : digits_as_ones(parsed.whole));
    std::string compared;
    bool beside = true;
    for (const NumberClause& clause : clauses) {
      const auto own = clause.beside_bounds(parsed);
      beside = beside && own;
      if (own) compared += *own + ',';
    }
    if (beside) {
      const size_t zeros = parsed.whole == "0" ? parsed.fraction.find_first_not_of('0') + 1 : 0;
      const std::string key = fmt::format("{}{}:{}:{}:{}:{}:{}", sign, set, parsed.whole.size(), zeros, parsed.point,
                                          !parsed.fraction.empty(), compared);
      return representatives.try_emplace(key, text).first->second;
    }
    size_t n_above = 0;
    bool whole = false;
    for (const NumberClause& clause : clauses) {
      if (!clause.reachable(NumberText(""))) continue;
      ++n_above;
      whole = clause.whole_above_zero();
    }
    if (n_above != 1 || !whole) return text;
    if (!parsed.point) return sign + digits_as_ones(parsed.whole);
    const bool zeros = parsed.fraction.find_first_not_of('0') == std::string::npos;
    if (!zeros) return text;
    return sign + digits_as_ones(parsed.whole) + (parsed.fraction.empty() ? "." : ".0");
  }

  int32_t intern(NumberSet set, std::string text) {
    const std::string key = std::to_string(set) + ":" + text;
    const auto [it, added] = state_numbers.try_emplace(key, static_cast<int32_t>(states.size()));
    if (!added) return it->second;
    require(states.size() < kMostStates, ErrorKind::resource, "numbers need more than {} states", kMostStates);
    const NumberText parsed(text);
    const Clauses& clauses = parsed.negative ? sets[set].mirrored : sets[set].clauses;
    const bool accepts =
        std::any_of(clauses.begin(), clauses.end(), [&](const NumberClause& c) { return c.accepts(parsed); });
    State state{set, std::move(text), accepts, {}};
    state.next.fill(kUnknown);
    states.push_back(std::move(state));
    return it->second;
  }

  int32_t compute(int32_t from, char c) {
    const State& state = states[static_cast<size_t>(from)];
    if (!may_follow(state.text, c)) return kDead;
    const std::string text = canonical(state.set, state.text + c);
    const NumberText parsed(text);
    // Digits without end are for those who could have stopped before.
    if (text.size() > 2 * kMostDigits + 300 && state.accepts) return kDead;
    const Clauses& clauses = parsed.negative ? sets[state.set].mirrored : sets[state.set].clauses;
    for (const NumberClause& clause : clauses)
      if (clause.reachable(parsed) || clause.accepts(parsed)) return intern(state.set, text);
    return kDead;
  }
};

NumberPool::NumberPool() : impl_(std::make_unique<Impl>()) {
  impl_->add(Impl::Clauses{});
  impl_->add(NumberClause{});
}
NumberPool::~NumberPool() = default;

NumberSet NumberPool::equal_to(std::string_view text) {
  NumberClause clause;
  clause.least = clause.most = NumberBound{Decimal::parse(text), false};
  return impl_->add(std::move(clause));
}
NumberSet NumberPool::at_least(std::string_view text, bool open) {
  NumberClause clause;
  clause.least = NumberBound{Decimal::parse(text), open};
  return impl_->add(std::move(clause));
}
NumberSet NumberPool::at_most(std::string_view text, bool open) {
  NumberClause clause;
  clause.most = NumberBound{Decimal::parse(text), open};
  return impl_->add(std::move(clause));
}
NumberSet NumberPool::multiples_of(std::string_view text) {
  NumberClause clause;
  clause.multiple = Decimal::parse(text);
  return impl_->add(std::move(clause));
}
NumberSet NumberPool::integers() {
  return multiples_of("1");
}
NumberSet NumberPool::integers_as_written() {
  NumberClause clause;
  clause.multiple = Decimal{1, 0};
  clause.form = NumberClause::Form::whole;
  return impl_->add(std::move(clause));
}

NumberSet NumberPool::both(NumberSet a, NumberSet b) {
  if (a == kAnyNumber || a == b) return b;
  if (b == kAnyNumber) return a;
  Impl::Clauses clauses;
  for (const NumberClause& x : impl_->sets[a].clauses)
    for (const NumberClause& y : impl_->sets[b].clauses)
      if (auto common = hearth::grammar::both(x, y)) clauses.push_back(std::move(*common));
  return impl_->add(std::move(clauses));
}

NumberSet NumberPool::either(NumberSet a, NumberSet b) {
  Impl::Clauses clauses = impl_->sets[a].clauses;
  clauses.insert(clauses.end(), impl_->sets[b].clauses.begin(), impl_->sets[b].clauses.end());
  return impl_->add(std::move(clauses));
}

NumberSet NumberPool::complement(NumberSet of) {
  NumberSet rest = kAnyNumber;
  const Impl::Clauses clauses = impl_->sets[of].clauses;
  for (const NumberClause& clause : clauses) rest = both(rest, impl_->add(hearth::grammar::complement(clause)));
  return rest;
}

int32_t NumberPool::start(NumberSet set) {
  return impl_->intern(set, "");
}

int32_t NumberPool::step(int32_t state, uint8_t byte) {
  const size_t column = kBytes.find(static_cast<char>(byte));
  if (column == kBytes.npos) return kDead;
  int32_t next = impl_->states[static_cast<size_t>(state)].next[column];
  if (next != kUnknown) return next;
  next = impl_->compute(state, static_cast<char>(byte));
  return impl_->states[static_cast<size_t>(state)].next[column] = next;
}

bool NumberPool::accepts(int32_t state) const {
  return impl_->states[static_cast<size_t>(state)].accepts;
}
size_t NumberPool::size() const {
  return impl_->states.size();
}

bool is_positive(std::string_view number) {
  return Decimal::parse(number).digits > 0;
}

int64_t count_of(std::string_view number) {
  const Decimal value = Decimal::parse(number);
  if (value.digits < 0 || !is_multiple(value, {1, 0}) || compare(value, {Integer(1) << 31, 0}) > 0) return -1;
  return static_cast<int64_t>(value.digits * power_of_ten(value.exponent < 0 ? 0 : value.exponent) /
                              power_of_ten(value.exponent < 0 ? -value.exponent : 0));
}

}  // namespace hearth::grammar
