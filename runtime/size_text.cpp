#include "runtime/size_text.h"

#include <charconv>
#include <cmath>

#include "quant/error.h"

namespace hearth {

uint64_t parse_size(std::string_view text, std::string_view option) {
  constexpr std::string_view kUnits = "KMGT";
  constexpr double kMost = double(uint64_t(1) << 50);
  double number = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number, std::chars_format::fixed);
  std::string_view unit(rest, size_t(end - rest));
  bool ok = error == std::errc() && std::isfinite(number) && number >= 0;
  if (ok && !unit.empty()) {
    const size_t power = kUnits.find(char(std::toupper(static_cast<unsigned char>(unit.front()))));
    ok = power != std::string_view::npos && unit.size() == 1;
    if (ok) number = std::ldexp(number, 10 * int(power + 1));
  } else if (ok) {
    ok = number == std::floor(number);  // there is no half of a byte
  }
  require(ok && number <= kMost, ErrorKind::usage,
          "{}: expected a size such as 16G, 1.5G or 800M (G: 2^30 bytes), found \"{}\"", option, text);
  return uint64_t(number);
}

std::string binary_size_text(uint64_t bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = double(bytes);
  size_t i = 0;
  for (; value >= 1000 && i + 1 < std::size(kUnits); ++i) value /= 1024;  // never four digits
  return fmt::format("{:.{}f} {}", value, i == 0 ? 0 : value < 9.995 ? 2 : value < 99.95 ? 1 : 0, kUnits[i]);
}

}  // namespace hearth
