#include "runtime/support/size_text.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>

#include "quant/error.h"

namespace hearth {

namespace {

std::string_view without_blanks(std::string_view text) {
  constexpr std::string_view kBlanks = " \t";
  const size_t first = text.find_first_not_of(kBlanks);
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) + 1 - first);
}

// "", "B", "G", "GB", "GiB" in any case -> the power of 1024; -1: something else.
int power_of_unit(std::string_view unit) {
  constexpr std::string_view kUnits = "BKMGT";
  std::string upper;
  for (const char c : unit) upper += char(std::toupper(static_cast<unsigned char>(c)));
  if (upper.empty()) return 0;
  const size_t power = kUnits.find(upper.front());
  if (power == std::string_view::npos) return -1;
  const std::string rest = upper.substr(1);
  const bool known = rest.empty() || (power > 0 && (rest == "B" || rest == "IB"));
  return known ? int(power) : -1;
}

// "9.62 G": three digits, and no fraction of what has no prefix.
std::string with_prefix(double value) {
  constexpr const char* kPrefixes[] = {"", "k", "M", "G", "T"};
  size_t i = 0;
  for (; value >= 1000 && i + 1 < std::size(kPrefixes); ++i) value /= 1000;
  return fmt::format("{:.{}f} {}", value, i == 0 ? 0 : value < 10 ? 2 : value < 100 ? 1 : 0, kPrefixes[i]);
}

}  // namespace

uint64_t parse_size(std::string_view typed, std::string_view option) {
  constexpr double kMost = double(uint64_t(1) << 50);
  const std::string_view text = without_blanks(typed);
  double number = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number, std::chars_format::fixed);
  const int power = error == std::errc() ? power_of_unit(without_blanks({rest, size_t(end - rest)})) : -1;
  const double bytes = std::ldexp(number, 10 * std::max(power, 0));
  // There is no half of a byte.
  const bool ok = power >= 0 && std::isfinite(number) && number >= 0 && (power > 0 || number == std::floor(number));
  require(ok && bytes <= kMost, ErrorKind::usage,
          "{}: expected a size such as 16G, 1.5GB or 800MiB (G, GB and GiB: 2^30 bytes), found \"{}\"", option, typed);
  return uint64_t(bytes);
}

int64_t parse_token_count(std::string_view typed, std::string_view option, int64_t least, int64_t most) {
  const std::string_view text = without_blanks(typed);
  int64_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number);
  const int power = error == std::errc() && rest != text.data() ? power_of_unit({rest, size_t(end - rest)}) : -1;
  const bool unit_fits = power == 0 ? rest == end : (power == 1 || power == 2) && end - rest == 1;
  const double tokens = std::ldexp(double(number), 10 * std::max(power, 0));
  require(unit_fits && tokens >= double(least) && tokens <= double(most), ErrorKind::usage,
          "{}: expected a number of tokens from {} to {}, such as 4096 or 4k, found \"{}\"", option, least, most,
          typed);
  return int64_t(tokens);
}

std::string binary_size_text(uint64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = double(bytes);
  size_t i = 0;
  for (; value >= 1000 && i + 1 < std::size(kUnits); ++i) value /= 1024;  // never four digits
  return fmt::format("{:.{}f} {}", value, i == 0 ? 0 : value < 9.995 ? 2 : value < 99.95 ? 1 : 0, kUnits[i]);
}

std::string decimal_size_text(double bytes) {
  return with_prefix(bytes) + "B";
}

std::string count_text(double count) {
  return std::string(without_blanks(with_prefix(count)));
}

std::string duration_text(double seconds) {
  const auto s = uint64_t(std::clamp(seconds, 0.0, 1e9) + 0.5);
  if (s >= 3600) return fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
  return fmt::format("{}:{:02}", s / 60, s % 60);
}

std::string figure_text(double value) {
  if (!(value < 1e15)) return fmt::format("{:.3g}", value);
  const int digits = value >= 100 || value == 0 ? 0 : value >= 10 ? 1 : value >= 1 ? 2 : 3;
  return fmt::format("{:.{}f}", value, digits);
}

}  // namespace hearth
