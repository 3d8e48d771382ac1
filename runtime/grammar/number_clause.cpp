#include "runtime/grammar/number_clause.h"

#include <algorithm>

#include "runtime/grammar/refusal.h"

namespace hearth::grammar {
namespace {

// Powers of ten that an exponent may lead to: those of IEEE doubles, so that every reader has the number.
constexpr int kMostPower = 308, kLeastPower = -400;

// The least integer of first .. last for which `holds` is true, which it stays from there on; last + 1: none.
template <class Holds>
int first_that(int first, int last, Holds holds) {
  while (first <= last) {
    const int middle = first + (last - first) / 2;
    if (holds(middle))
      last = middle - 1;
    else
      first = middle + 1;
  }
  return first;
}

bool within(const std::optional<NumberBound>& least, const std::optional<NumberBound>& most, const Decimal& value) {
  if (least) {
    const int order = compare(value, least->at);
    if (order < 0 || (order == 0 && least->open)) return false;
  }
  if (most) {
    const int order = compare(value, most->at);
    if (order > 0 || (order == 0 && most->open)) return false;
  }
  return true;
}

// The tighter of two bounds; `sign`: 1 for upper ones.
std::optional<NumberBound> tighter(const std::optional<NumberBound>& a, const std::optional<NumberBound>& b, int sign) {
  if (!a || !b) return a ? a : b;
  const int order = compare(a->at, b->at) * sign;
  if (order == 0) return NumberBound{a->at, a->open || b->open};
  return order < 0 ? a : b;
}

}  // namespace

NumberText::NumberText(std::string_view text) {
  for (const char c : text) {
    if (c == '-' && !exponent)
      negative = true;
    else if (c == '-' || c == '+')
      exponent_signed = true, exponent_negative = c == '-';
    else if (c == '.')
      point = true;
    else if (c == 'e' || c == 'E')
      exponent = true;
    else
      (exponent ? power : point ? fraction : whole) += c;
  }
}

bool NumberText::complete() const {
  return !whole.empty() && (!point || !fraction.empty()) && (!exponent || !power.empty());
}

bool NumberText::scientific() const {
  return whole.size() == 1 && whole[0] != '0';
}

Decimal NumberText::magnitude() const {
  const std::string all = whole + fraction;
  const size_t first = all.find_first_not_of('0');
  return {first == all.npos ? Integer(0) : Integer(all.substr(first)), -static_cast<int>(fraction.size())};
}

std::string NumberClause::text() const {
  std::string out;
  if (least) out += (least->open ? ">" : "}") + least->at.text();
  if (most) out += (most->open ? "<" : "{") + most->at.text();
  if (multiple) out += "*" + multiple->text();
  for (const Decimal& each : not_multiples) out += "!" + each.text();
  return out + "/" + std::to_string(static_cast<int>(form));
}

bool NumberClause::contains(const Decimal& value) const {
  if (!within(least, most, value)) return false;
  if (multiple && !is_multiple(value, *multiple)) return false;
  return std::none_of(not_multiples.begin(), not_multiples.end(),
                      [&](const Decimal& each) { return is_multiple(value, each); });
}

// Some number of the clause lies between the two, which lie within its bounds.
bool NumberClause::has_between(const NumberBound& from, const NumberBound& to) const {
  const int order = compare(from.at, to.at);
  if (order > 0) return false;
  if (order == 0) return !from.open && !to.open && contains(from.at);
  if (!multiple) return true;  // decimals lie everywhere, multiples do not
  bool exact = false;
  Integer first = floor_multiple(from.at, *multiple, exact);
  if (!exact || from.open) ++first;
  Integer last = floor_multiple(to.at, *multiple, exact);
  if (exact && to.open) --last;
  // Of the multiples in a row that are none of `not_multiples`, one comes soon, or none does.
  constexpr int kTries = 1000;
  for (int i = 0; i < kTries && first <= last; ++i, ++first) {
    if (contains(times(*multiple, first))) return true;
  }
  return false;
}

// Some number of the clause lies in [from, to), from >= 0.
bool NumberClause::meets(Decimal from, const Decimal& to) const {
  const auto low = tighter(NumberBound{std::move(from), false}, least, -1);
  const auto high = tighter(NumberBound{to, true}, most, 1);
  return has_between(*low, *high);
}

bool NumberClause::empty() const {
  if (least && most) return !has_between(*least, *most);
  if (!multiple) return false;
  // Without an end on one side: a thousand multiples from the other, or from 0.
  const Decimal width = times(*multiple, 1000);
  const Decimal start = least ? least->at : most ? most->at : Decimal{};
  const auto far = [&](int sign) {
    const int low = std::min(start.exponent, width.exponent);
    return Decimal{
        start.digits * power_of_ten(start.exponent - low) + sign * width.digits * power_of_ten(width.exponent - low),
        low};
  };
  if (most) return !has_between({far(-1), false}, *most);
  return !has_between(least ? *least : NumberBound{start, false}, {far(1), false});
}

NumberClause NumberClause::mirrored() const {
  NumberClause other = *this;
  std::swap(other.least, other.most);
  if (other.least) other.least->at = -other.least->at;
  if (other.most) other.most->at = -other.most->at;
  return other;
}

bool NumberClause::free_above_zero() const {
  const bool from_zero = !least || compare(least->at, {}) <= 0;
  return from_zero && !most && !multiple && not_multiples.empty() && form == Form::any;
}

bool NumberClause::whole_above_zero() const {
  const Decimal one{1, 0};
  const bool from_one = !least || compare(least->at, one) < (least->open ? 0 : 1);
  return from_one && !most && multiple && compare(*multiple, one) == 0 && not_multiples.empty() && form != Form::other;
}

std::optional<std::string> NumberClause::beside_bounds(const NumberText& text) const {
  const bool whole_numbers = multiple && compare(*multiple, {1, 0}) == 0;
  if (text.exponent || !not_multiples.empty() || (multiple && !whole_numbers) || (whole_numbers && text.point))
    return std::nullopt;
  std::string digits = text.whole + text.fraction;
  const size_t first = digits.find_first_not_of('0');
  if (first == digits.npos) return std::nullopt;
  digits.erase(0, first);
  std::string compared;
  for (const auto* bound : {&least, &most}) {
    if (!*bound || (*bound)->at.digits <= 0) continue;  // which all numbers above zero are beyond
    std::string other = (*bound)->at.digits.str();
    other.resize(std::max(other.size(), digits.size()), '0');
    other.resize(digits.size());
    if (other == digits) return std::nullopt;
    compared += digits < other ? '<' : '>';
  }
  return compared;
}

// `text` as if it had no sign: negative ones are looked up in the mirrored clause.
bool NumberClause::accepts(const NumberText& text) const {
  if (!text.complete() || (form == Form::whole && (text.point || text.exponent)) ||
      (form == Form::other && !text.point && !text.exponent))
    return false;
  if (!text.exponent) return contains(text.magnitude());
  return reachable_power(text, true);
}

bool NumberClause::reachable(const NumberText& text) const {
  if (form == Form::whole && (text.point || text.exponent)) return false;
  if (text.exponent) return reachable_power(text, false);
  return reachable_plain(text) || (form != Form::whole && reachable_scaled(text));
}

bool NumberClause::reachable_plain(const NumberText& text) const {
  const Decimal value = text.magnitude();
  const Decimal next{value.digits + 1, value.exponent};
  if (text.whole.empty()) {  // any number from 0 on
    NumberClause above = *this;
    above.least = tighter(NumberBound{{}, false}, least, -1);
    return !above.empty();
  }
  if (text.point) return meets(value, next);
  if (value.digits == 0) return meets({}, {1, 0});
  // More digits: [value, value + 1) times any power of ten.
  for (int power = 0; power <= 2 * kMostDigits; ++power) {
    const Decimal low = value.times_power_of_ten(power);
    if (most && compare(low, most->at) > 0) return false;
    if (meets(low, next.times_power_of_ten(power))) return true;
    if (!least && !multiple) return false;
  }
  return false;
}

bool NumberClause::reachable_scaled(const NumberText& text) const {
  if (!text.scientific()) return false;
  const Decimal value = text.magnitude();
  const Decimal next{value.digits + 1, value.exponent};
  // Below every multiple and bound there is nothing more to find.
  int lowest = kLeastPower;
  if (multiple) lowest = std::max(lowest, multiple->exponent - 1);
  int highest = kMostPower;
  if (most && compare(most->at, {}) > 0) {
    const int size = static_cast<int>(most->at.digits.str().size()) + most->at.exponent;
    highest = std::min(highest, size);
  }
  if (least && compare(least->at, {}) > 0)
    lowest = std::max(lowest, static_cast<int>(least->at.digits.str().size()) + least->at.exponent - 2);
  for (int power = lowest; power <= highest; ++power)
    if (meets(value.times_power_of_ten(power), next.times_power_of_ten(power))) return true;
  return false;
}

// With an exponent: what stands before it is fixed, and the powers of ten that lead into the set have no gaps.
bool NumberClause::reachable_power(const NumberText& text, bool end) const {
  if ((text.point && text.fraction.empty()) || text.whole.empty()) return false;
  const Decimal value = text.magnitude();
  const size_t significant = text.power.find_first_not_of('0');
  if (value.digits == 0) return contains({}) && text.power.size() - std::min(significant, text.power.size()) <= 3;
  if (!text.scientific() && !free_above_zero() && !whole_above_zero()) return false;
  const int size = static_cast<int>(value.digits.str().size()) + value.exponent - 1;
  int first = kLeastPower - size, last = kMostPower - size;
  static const Decimal kLargest = Decimal::parse("1.7976931348623157e308");
  if (compare(value.times_power_of_ten(last), kLargest) > 0) --last;
  if (!text.scientific()) last = std::min(last, kMostPower - 20 - size);  // for there may be more of them
  if (!text.scientific() && multiple) first = std::max(first, 0);  // digits at the end, zeros or not, are forgotten
  const auto scaled = [&](int power) { return value.times_power_of_ten(power); };
  if (least) first = first_that(first, last, [&](int power) { return within(least, std::nullopt, scaled(power)); });
  if (multiple) first = first_that(first, last, [&](int power) { return is_multiple(scaled(power), *multiple); });
  if (most) last = first_that(first, last, [&](int power) { return !within(std::nullopt, most, scaled(power)); }) - 1;
  for (const Decimal& each : not_multiples)
    last = first_that(first, last, [&](int power) { return is_multiple(scaled(power), each); }) - 1;
  if (first > last) return false;
  const bool signless = significant == text.power.npos;
  if (!signless && text.power.size() - significant > 5) return false;
  const int given = signless ? 0 : std::stoi(text.power.substr(significant));
  if (text.exponent_negative) std::swap(first, last), first = -first, last = -last;
  if (end) return given >= first && given <= last;
  // Without digits, or with zeros alone, the sign may still come or any number of that sign.
  if (signless) return last >= 0 || (text.power.empty() && !text.exponent_signed && first < 0);
  for (int low = given, high = given; low <= last; low = low * 10, high = high * 10 + 9)
    if (high >= first) return true;
  return false;
}

std::optional<NumberClause> both(const NumberClause& a, const NumberClause& b) {
  using Form = NumberClause::Form;
  NumberClause made;
  if (a.form != Form::any && b.form != Form::any && a.form != b.form) return std::nullopt;
  made.form = a.form == Form::any ? b.form : a.form;
  made.least = tighter(a.least, b.least, -1);
  made.most = tighter(a.most, b.most, 1);
  made.multiple = !a.multiple ? b.multiple : !b.multiple ? a.multiple : least_common_multiple(*a.multiple, *b.multiple);
  made.not_multiples = a.not_multiples;
  for (const Decimal& each : b.not_multiples) {
    const auto same = [&](const Decimal& other) { return compare(each, other) == 0; };
    if (std::none_of(made.not_multiples.begin(), made.not_multiples.end(), same)) made.not_multiples.push_back(each);
  }
  if (made.multiple)
    for (const Decimal& each : made.not_multiples)
      if (is_multiple(*made.multiple, each)) return std::nullopt;
  if (made.empty()) return std::nullopt;
  return made;
}

std::vector<NumberClause> complement(const NumberClause& clause) {
  std::vector<NumberClause> parts;
  const auto add = [&](auto set) {
    NumberClause part;
    set(part);
    parts.push_back(std::move(part));
  };
  if (clause.least) add([&](NumberClause& part) { part.most = NumberBound{clause.least->at, !clause.least->open}; });
  if (clause.most) add([&](NumberClause& part) { part.least = NumberBound{clause.most->at, !clause.most->open}; });
  if (clause.multiple) add([&](NumberClause& part) { part.not_multiples = {*clause.multiple}; });
  for (const Decimal& each : clause.not_multiples) add([&](NumberClause& part) { part.multiple = each; });
  using Form = NumberClause::Form;
  if (clause.form != Form::any)
    add([&](NumberClause& part) { part.form = clause.form == Form::whole ? Form::other : Form::whole; });
  return parts;
}

}  // namespace hearth::grammar
