#include "runtime/grammar/number_pool.h"

#include <algorithm>
#include <array>
#include <map>
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

// For digits of which an exponent alone wants to know something: how large they are, about, so that the number stays
// one that a double can hold.
std::string free_mantissa(const NumberText& text) {
  std::string mantissa = text.scientific() ? text.whole : text.whole == "0" ? "0" : "11";
  if (text.point) mantissa += '.';
  if (!text.fraction.empty()) mantissa += text.whole == "1" ? '1' : '9';
  return mantissa;
}

}  // namespace

struct NumberPool::Impl {
  using Clauses = std::vector<NumberClause>;
  // For texts without a sign, or with one.
  struct Side {
    Clauses clauses;
    std::vector<std::string> points;  // of each: the digits of the only number, "" where there are more
    bool any_free = false, any_point = false;
  };
  struct Set {
    Side plain, mirrored;
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
    std::map<std::string, NumberClause> sorted;
    for (NumberClause& clause : clauses) sorted.emplace(clause.text(), std::move(clause));
    const std::string everything = NumberClause{}.text();
    if (sorted.contains(everything)) sorted = {{everything, NumberClause{}}};
    std::string key;
    Clauses distinct;
    for (auto& [text, clause] : sorted) {
      key += text + ";";
      distinct.push_back(std::move(clause));
    }
    const auto [it, added] = set_numbers.try_emplace(key, static_cast<NumberSet>(sets.size()));
    if (added) {
      Clauses mirrored;
      for (const NumberClause& clause : distinct) mirrored.push_back(clause.mirrored());
      sets.push_back({side(std::move(distinct)), side(std::move(mirrored))});
    }
    return it->second;
  }

  static Side side(Clauses clauses) {
    Side made{std::move(clauses)};
    for (const NumberClause& clause : made.clauses) {
      const bool point = clause.least && clause.most && compare(clause.least->at, clause.most->at) == 0;
      made.points.push_back(point ? clause.least->at.digits.str() : "");
      made.any_point |= point;
      made.any_free |= clause.free_above_zero();
    }
    return made;
  }

  const Side& side_of(NumberSet set, const NumberText& text) const {
    return text.negative ? sets[set].mirrored : sets[set].plain;
  }

  // Some clause holds of the text; those of single numbers are asked only where the digits agree so far.
  template <class Holds>
  static bool any_clause(const Side& side, const NumberText& text, Holds holds) {
    std::string digits = text.whole + text.fraction;
    digits.erase(0, std::min(digits.find_first_not_of('0'), digits.size()));
    for (size_t i = 0; i < side.clauses.size(); ++i) {
      const std::string& point = side.points[i];
      if (!digits.empty() && !point.empty()) {
        const size_t common = std::min(digits.size(), point.size());
        if (digits.compare(0, common, point, 0, common) != 0 || digits.find_first_not_of('0', common) != digits.npos)
          continue;
      }
      if (holds(side.clauses[i])) return true;
    }
    return false;
  }

  NumberSet add(NumberClause clause) { return add(Clauses{std::move(clause)}); }

  // The same future in fewer words, where digits no longer matter.
  std::string canonical(NumberSet set, const std::string& text) {
    const NumberText parsed(text);
    const Side& side = side_of(set, parsed);
    const Clauses& clauses = side.clauses;
    const std::string sign = parsed.negative ? "-" : "";
    if (parsed.whole.empty()) return text;
    const bool zero = (parsed.whole + parsed.fraction).find_first_not_of('0') == std::string::npos;
    const bool any_free = side.any_free;
    if (parsed.exponent) {
      const std::string mantissa = zero ? "0"
                                   : any_free
                                       ? free_mantissa(parsed)
                                       : text.substr(parsed.negative, text.find_first_of("eE") - parsed.negative);
      const size_t first = std::min(parsed.power.find_first_not_of('0'), parsed.power.size());
      std::string power = parsed.power.substr(first);
      if (!parsed.power.empty() && power.empty()) power = "0";
      const char* signed_power = !parsed.exponent_signed ? "" : parsed.exponent_negative ? "-" : "+";
      return sign + mantissa + "e" + signed_power + power;
    }
    if (zero) return any_free && !parsed.fraction.empty() ? sign + "0.0" : text;
    if (any_free) return sign + free_mantissa(parsed);
    if (side.any_point) return text;
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
    const bool accepts = any_clause(side_of(set, parsed), parsed, [&](const auto& c) { return c.accepts(parsed); });
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
    const bool goes_on = any_clause(side_of(state.set, parsed), parsed, [&](const NumberClause& clause) {
      return clause.reachable(parsed) || clause.accepts(parsed);
    });
    if (goes_on) return intern(state.set, text);
    return kDead;
  }
};

NumberPool::NumberPool() : impl_(std::make_unique<Impl>()) {
  impl_->add(Impl::Clauses{});
  impl_->add(NumberClause{});
}
NumberPool::~NumberPool() = default;

NumberSet NumberPool::one_of(const std::vector<std::string>& texts) {
  Impl::Clauses clauses;
  for (const std::string& text : texts) {
    NumberClause& clause = clauses.emplace_back();
    clause.least = clause.most = NumberBound{Decimal::parse(text), false};
  }
  return impl_->add(std::move(clauses));
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
  for (const NumberClause& x : impl_->sets[a].plain.clauses)
    for (const NumberClause& y : impl_->sets[b].plain.clauses)
      if (auto common = hearth::grammar::both(x, y)) clauses.push_back(std::move(*common));
  return impl_->add(std::move(clauses));
}

NumberSet NumberPool::either(NumberSet a, NumberSet b) {
  Impl::Clauses clauses = impl_->sets[a].plain.clauses;
  clauses.insert(clauses.end(), impl_->sets[b].plain.clauses.begin(), impl_->sets[b].plain.clauses.end());
  return impl_->add(std::move(clauses));
}

NumberSet NumberPool::complement(NumberSet of) {
  NumberSet rest = kAnyNumber;
  const Impl::Clauses clauses = impl_->sets[of].plain.clauses;
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
