#include "runtime/grammar/decimal.h"

#include <algorithm>

#include "runtime/grammar/refusal.h"

namespace hearth::grammar {
namespace {

// Both as whole numbers of the smaller unit.
std::pair<Integer, Integer> aligned(const Decimal& a, const Decimal& b) {
  const int least = std::min(a.exponent, b.exponent);
  return {a.digits * power_of_ten(a.exponent - least), b.digits * power_of_ten(b.exponent - least)};
}

}  // namespace

Integer power_of_ten(int power) {
  if (power <= 18) {
    static constexpr uint64_t kSmall[] = {1ull,
                                          10ull,
                                          100ull,
                                          1000ull,
                                          10000ull,
                                          100000ull,
                                          1000000ull,
                                          10000000ull,
                                          100000000ull,
                                          1000000000ull,
                                          10000000000ull,
                                          100000000000ull,
                                          1000000000000ull,
                                          10000000000000ull,
                                          100000000000000ull,
                                          1000000000000000ull,
                                          10000000000000000ull,
                                          100000000000000000ull,
                                          1000000000000000000ull};
    return kSmall[power];
  }
  return boost::multiprecision::pow(Integer(10), static_cast<unsigned>(power));
}

Decimal Decimal::parse(std::string_view text) {
  Decimal value;
  const size_t e = text.find_first_of("eE");
  std::string digits;
  bool negative = false, fraction = false;
  for (const char c : text.substr(0, e)) {
    if (c == '-') negative = true;
    if (c == '.') fraction = true;
    if (c < '0' || c > '9') continue;
    if (!digits.empty() || c != '0') digits += c;
    value.exponent -= fraction;
  }
  const auto too_long = [&] {
    throw Refusal("", fmt::format("a number of more than {} digits or powers of ten", kMostDigits));
  };
  while (!digits.empty() && digits.back() == '0') digits.pop_back(), ++value.exponent;
  if (digits.size() > kMostDigits) too_long();
  if (digits.empty()) return {};
  if (e != text.npos) {
    const std::string power(text.substr(e + 1));
    if (power.find_first_of("123456789") != power.npos) {
      const size_t first = power.find_first_of("123456789");
      if (power.size() - first > 6) too_long();
      value.exponent += (power[0] == '-' ? -1 : 1) * std::stoi(power.substr(first));
    }
  }
  if (std::abs(value.exponent) > kMostDigits) too_long();
  value.digits = Integer(digits);
  if (negative) value.digits = -value.digits;
  return value;
}

std::string Decimal::text() const {
  Integer shortest = digits;
  int power = exponent;
  while (shortest != 0 && shortest % 10 == 0) shortest /= 10, ++power;
  return shortest.str() + "e" + std::to_string(shortest == 0 ? 0 : power);
}

int compare(const Decimal& a, const Decimal& b) {
  const auto [x, y] = aligned(a, b);
  return x.compare(y);
}

Integer floor_multiple(const Decimal& value, const Decimal& unit, bool& exact) {
  const auto [x, y] = aligned(value, unit);
  Integer quotient, rest;
  boost::multiprecision::divide_qr(x, y, quotient, rest);
  exact = rest == 0;
  if (rest < 0) --quotient;
  return quotient;
}

bool is_multiple(const Decimal& value, const Decimal& unit) {
  const auto [x, y] = aligned(value, unit);
  return x % y == 0;
}

Decimal least_common_multiple(const Decimal& a, const Decimal& b) {
  const auto [x, y] = aligned(a, b);
  return {boost::multiprecision::lcm(x, y), std::min(a.exponent, b.exponent)};
}

Decimal times(const Decimal& a, const Integer& k) {
  return {a.digits * k, a.exponent};
}

}  // namespace hearth::grammar
