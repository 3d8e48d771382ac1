// Sets of numbers of one stretch: bounds, what they are multiples of and what not.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/grammar/decimal.h"

namespace hearth::grammar {

// A number's text as far as it was read.
struct NumberText {
  explicit NumberText(std::string_view text);
  bool negative = false, point = false, exponent = false, exponent_negative = false, exponent_signed = false;
  std::string whole, fraction, power;  // digits
  bool complete() const;               // a number may end here
  bool scientific() const;             // one digit other than 0 before the point
  Decimal magnitude() const;           // of what stands before the exponent
};

struct NumberBound {
  Decimal at;
  bool open;  // the number itself is outside
};

struct NumberClause {
  enum class Form : uint8_t { any, whole, other };  // whole: neither point nor exponent; other: one of them
  std::optional<NumberBound> least, most;
  std::optional<Decimal> multiple;     // of this
  std::vector<Decimal> not_multiples;  // of any of these
  Form form = Form::any;

  std::string text() const;  // the same for the same clause
  bool empty() const;
  bool contains(const Decimal& value) const;
  // A number that ends here is in the set.
  bool accepts(const NumberText& text) const;
  // Some number in the set begins like that. Where there are bounds, an exponent stands behind a single digit other
  // than 0 and its fraction, as programs write it: nobody writes 50 on the way to 50e-1.
  bool reachable(const NumberText& text) const;
  NumberClause mirrored() const;  // the negatives of its numbers
  // From so many on, every number of this sign that is written out with digits is in the set.
  bool free_above_zero() const;
  bool whole_above_zero() const;  // every whole number above zero, nothing else above zero
  // How the text's digits compare with those of the bounds, a letter for each; nothing where they agree with one as far
  // as they go, or where more than bounds matters. Texts of one shape that compare alike have the same future.
  std::optional<std::string> beside_bounds(const NumberText& text) const;

 private:
  bool has_between(const NumberBound& from, const NumberBound& to) const;
  bool meets(Decimal from, const Decimal& to) const;
  bool reachable_plain(const NumberText& text) const;
  bool reachable_scaled(const NumberText& text) const;
  bool reachable_power(const NumberText& text, bool end) const;
};

std::optional<NumberClause> both(const NumberClause& a, const NumberClause& b);
std::vector<NumberClause> complement(const NumberClause& clause);

}  // namespace hearth::grammar
