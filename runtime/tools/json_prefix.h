// JSON that is still coming: is what is there so far the beginning of a value?
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace hearth {

// Follows one value of RFC 8259 byte by byte, in memory for its depth alone. Bytes of strings are not checked to be
// UTF-8; nothing nested deeper than kDepth is taken.
class JsonPrefix {
 public:
  static constexpr size_t kDepth = 128;

  // Takes the bytes with which the value can go on, and returns how many those were. Fewer than there are: the value
  // ended before the next one, if complete(), or that one is a fault. Blanks around the value are not part of it.
  size_t push(std::string_view text);

  // What was taken is a value. A number may yet go on.
  bool complete() const {
    return state_ == State::over || (open_.empty() && state_ == State::number && number_may_end());
  }
  bool begun() const { return state_ != State::value || !open_.empty(); }
  // Inside an object or a list, which has shown more than its first bracket.
  bool has_content() const { return has_content_; }

 private:
  enum class State { value, first_value, first_key, key, colon, after_value, string, escape, hex, number, word, over };
  enum class Number { minus, zero, integer, point, fraction, exponent, sign, power };

  bool take(char c);
  bool take_value(char c);
  bool take_string(char c);
  bool take_number(char c);
  bool open(char c);
  bool close(char c);
  void end_value();
  bool number_may_end() const;

  std::string open_;  // brackets, the innermost last
  State state_ = State::value;
  Number number_ = Number::minus;
  bool is_key_ = false;  // the string under way
  bool has_content_ = false;
  int hex_left_ = 0;
  std::string_view word_;  // what is left of true, false or null
};

}  // namespace hearth
