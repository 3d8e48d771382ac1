// Exact decimal numbers, as JSON writes them.
#pragma once

#include <boost/multiprecision/cpp_int.hpp>
#include <string>
#include <string_view>

namespace hearth::grammar {

using Integer = boost::multiprecision::cpp_int;

constexpr int kMostDigits = 400;  // of a number in a schema, as its power of ten, too

// digits * 10^exponent.
struct Decimal {
  Integer digits = 0;
  int exponent = 0;

  // `text`: a JSON number. Throws Refusal beyond kMostDigits.
  static Decimal parse(std::string_view text);
  Decimal operator-() const { return {-digits, exponent}; }
  Decimal times_power_of_ten(int power) const { return {digits, exponent + power}; }
  std::string text() const;  // the same for equal numbers
};

Integer power_of_ten(int power);
int compare(const Decimal& a, const Decimal& b);  // as strcmp
// The greatest k with k * unit <= value, unit > 0; `exact`: they are equal.
Integer floor_multiple(const Decimal& value, const Decimal& unit, bool& exact);
bool is_multiple(const Decimal& value, const Decimal& unit);
Decimal least_common_multiple(const Decimal& a, const Decimal& b);
Decimal times(const Decimal& a, const Integer& k);

}  // namespace hearth::grammar
