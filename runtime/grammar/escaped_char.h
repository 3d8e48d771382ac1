// Where a byte stands within a character of a JSON string: in UTF-8, or in an escape (RFC 8259, section 7).
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

namespace hearth::grammar {

// What was read of a character whose end has not come. A plain number, so that states can hold it.
class EscapedChar {
 public:
  EscapedChar() = default;  // between characters
  bool between() const { return bits_ == 0; }
  uint32_t bits() const { return bits_; }

  struct Step;
  // The byte after it; nullopt: no string goes on like that, or ('"', between characters) the string ends.
  std::optional<Step> step(uint8_t byte) const;

  // The code points that the character may become.
  using Ranges = std::vector<std::pair<uint32_t, uint32_t>>;
  Ranges possible() const;
  // Within UTF-8, where every continuation leads to a character: all of which lie between the two.
  std::optional<std::pair<uint32_t, uint32_t>> whole_range() const;
  // The same place, which character it becomes being of no interest.
  EscapedChar forgotten() const;
  bool is_forgotten() const { return kind() == tail; }
  uint32_t bytes_to_come() const { return count(); }  // of a forgotten character

 private:
  enum Kind : uint32_t { none, utf8, tail, backslash, hex, low_backslash, low_u, low_hex };
  EscapedChar(Kind kind, uint32_t count, uint32_t value) : bits_(kind << 28 | count << 24 | value) {}
  Kind kind() const { return static_cast<Kind>(bits_ >> 28); }
  uint32_t count() const { return bits_ >> 24 & 15; }
  uint32_t value() const { return bits_ & 0xFFFFFF; }

  std::optional<Step> hex_digit(uint8_t byte) const;

  uint32_t bits_ = 0;
};

struct EscapedChar::Step {
  EscapedChar then;  // between characters where the character is finished
  uint32_t character = UINT32_MAX;
  bool finished() const { return character != UINT32_MAX; }
};

}  // namespace hearth::grammar
