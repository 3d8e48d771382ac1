#include "runtime/grammar/escaped_char.h"

#include <algorithm>
#include <string_view>

namespace hearth::grammar {
namespace {

constexpr uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};  // code point in a form of so many bytes

bool is_surrogate(uint32_t code_point) {
  return code_point >= 0xD800 && code_point < 0xE000;
}

}  // namespace

// utf8: `count` is bytes to come | (bytes of the form - 1) << 2. hex, low_hex: `count` digits were read. From
// low_backslash on the upper ten of the lower twenty bits of `value` are the first half of the pair; in low_hex, whose
// value would not fit, the digits read follow below: at most three, the first of which is D.
std::optional<EscapedChar::Step> EscapedChar::step(uint8_t byte) const {
  switch (kind()) {
    case none:
      if (byte < 0x20 || byte == '"') return std::nullopt;
      if (byte == '\\') return Step{{backslash, 0, 0}};
      if (byte < 0x80) return Step{{}, byte};
      if (byte >= 0xC2 && byte < 0xE0) return Step{{utf8, 1 | 1 << 2, byte & 0x1Fu}};
      if (byte >= 0xE0 && byte < 0xF0) return Step{{utf8, 2 | 2 << 2, byte & 0x0Fu}};
      if (byte >= 0xF0 && byte < 0xF5) return Step{{utf8, 3 | 3 << 2, byte & 0x07u}};
      return std::nullopt;
    case utf8: {
      if ((byte & 0xC0) != 0x80) return std::nullopt;
      const uint32_t left = (count() & 3) - 1, more = value() << 6 | (byte & 0x3Fu), length = (count() >> 2) + 1;
      if (left == 0) {
        if (more < kLeast[length] || more > 0x10FFFF || is_surrogate(more)) return std::nullopt;
        return Step{{}, more};
      }
      const Step step{{utf8, left | (length - 1) << 2, more}};
      return step.then.possible().empty() ? std::nullopt : std::optional(step);
    }
    case tail:  // `count` bytes to come of a character that stands for all
      if ((byte & 0xC0) != 0x80) return std::nullopt;
      return count() == 1 ? Step{{}, 0} : Step{{tail, count() - 1, 0}};
    case backslash: {
      static constexpr std::string_view kLetters = "\"\\/bfnrt", kMeant = "\"\\/\b\f\n\r\t";
      if (byte == 'u') return Step{{hex, 0, 0}};
      const size_t at = kLetters.find(static_cast<char>(byte));
      if (at == kLetters.npos) return std::nullopt;
      return Step{{}, static_cast<uint8_t>(kMeant[at])};
    }
    case low_backslash:
      return byte == '\\' ? std::optional(Step{{low_u, 0, value()}}) : std::nullopt;
    case low_u:
      return byte == 'u' ? std::optional(Step{{low_hex, 0, value() << 12}}) : std::nullopt;
    default:
      return hex_digit(byte);
  }
}

std::optional<EscapedChar::Step> EscapedChar::hex_digit(uint8_t byte) const {
  const uint32_t lower = byte | 0x20u;
  const bool decimal = byte >= '0' && byte <= '9';
  if (!decimal && (lower < 'a' || lower > 'f')) return std::nullopt;
  const uint32_t digit = decimal ? byte - '0' : lower - 'a' + 10;
  if (kind() == hex) {
    const uint32_t more = value() << 4 | digit;
    if (count() < 3) {
      const Step step{{hex, count() + 1, more}};
      return step.then.possible().empty() ? std::nullopt : std::optional(step);
    }
    if (more >= 0xD800 && more < 0xDC00) return Step{{low_backslash, 0, more - 0xD800}};
    if (is_surrogate(more)) return std::nullopt;
    return Step{{}, more};
  }
  const uint32_t high = value() >> 12, more = (value() & 0xFFF) << 4 | digit;  // at most 16 bits
  if (count() == 0 && digit != 0xD) return std::nullopt;
  if (count() == 1 && digit < 0xC) return std::nullopt;
  if (count() < 3) return Step{{low_hex, count() + 1, high << 12 | more}};
  return Step{{}, 0x10000 + (high << 10) + (more - 0xDC00)};
}

std::optional<std::pair<uint32_t, uint32_t>> EscapedChar::whole_range() const {
  if (kind() != utf8) return std::nullopt;
  const uint32_t shift = 6 * (count() & 3), length = (count() >> 2) + 1;
  const uint32_t first = value() << shift, last = ((value() + 1) << shift) - 1;
  if (first < kLeast[length] || last > 0x10FFFF || (first < 0xE000 && last >= 0xD800)) return std::nullopt;
  return std::pair(first, last);
}

EscapedChar EscapedChar::forgotten() const {
  return {tail, count() & 3, 0};
}

EscapedChar::Ranges EscapedChar::possible() const {
  Ranges ranges;
  const auto add = [&](uint32_t first, uint32_t last) {
    if (first <= last) ranges.emplace_back(first, last);
  };
  switch (kind()) {
    case none:
    case tail:
    case backslash:
      add(0, 0xD7FF);
      add(0xE000, 0x10FFFF);
      return ranges;
    case utf8: {
      const uint32_t shift = 6 * (count() & 3), length = (count() >> 2) + 1;
      const uint32_t first = std::max(value() << shift, kLeast[length]);
      const uint32_t last = std::min(((value() + 1) << shift) - 1, 0x10FFFFu);
      add(first, std::min(last, 0xD7FFu));
      add(std::max(first, 0xE000u), last);
      return ranges;
    }
    case hex: {
      const uint32_t shift = 4 * (4 - count()), first = value() << shift, last = ((value() + 1) << shift) - 1;
      add(first, std::min(last, 0xD7FFu));
      add(std::max(first, 0xE000u), last);
      const uint32_t high = std::max(first, 0xD800u), high_end = std::min(last, 0xDBFFu);
      if (high <= high_end) add(0x10000 + ((high - 0xD800) << 10), 0x10000 + ((high_end - 0xD800) << 10) + 0x3FF);
      return ranges;
    }
    case low_backslash:
    case low_u:
      add(0x10000 + (value() << 10), 0x10000 + (value() << 10) + 0x3FF);
      return ranges;
    case low_hex: {
      const uint32_t base = 0x10000 + (value() >> 12 << 10), digits = value() & 0xFFF, shift = 4 * (4 - count());
      const uint32_t first = std::max(digits << shift, 0xDC00u);
      const uint32_t last = std::min(((digits + 1) << shift) - 1, 0xDFFFu);
      if (count() == 0)
        add(base, base + 0x3FF);
      else if (first <= last)
        add(base + (first - 0xDC00), base + (last - 0xDC00));
      return ranges;
    }
  }
  return ranges;
}

}  // namespace hearth::grammar
