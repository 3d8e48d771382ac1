#include "runtime/tools/json_prefix.h"

namespace hearth {

namespace {

bool is_blank(char c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
bool is_hex(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

}  // namespace

size_t JsonPrefix::push(std::string_view text) {
  size_t taken = 0;
  for (; taken < text.size(); ++taken) {
    const bool inside = open_.size() == 1;
    if (!take(text[taken])) break;
    has_content_ = has_content_ || (inside && !is_blank(text[taken]));
  }
  return taken;
}

bool JsonPrefix::take(char c) {
  if (state_ == State::number) {
    if (take_number(c)) return true;
    if (!number_may_end()) return false;
    end_value();  // and the byte belongs to what is around it
  }
  switch (state_) {
    case State::over:
    case State::number:
      return false;
    case State::string:
    case State::escape:
    case State::hex:
      return take_string(c);
    case State::word:
      if (c != word_.front()) return false;
      word_.remove_prefix(1);
      if (word_.empty()) end_value();
      return true;
    default:
      break;
  }
  if (is_blank(c)) return !open_.empty();
  switch (state_) {
    case State::first_value:
      return c == ']' ? close(c) : take_value(c);
    case State::first_key:
    case State::key:
      if (c == '}' && state_ == State::first_key) return close(c);
      if (c != '"') return false;
      is_key_ = true;
      state_ = State::string;
      return true;
    case State::colon:
      if (c != ':') return false;
      state_ = State::value;
      return true;
    case State::after_value:
      if (c != ',') return close(c);
      state_ = open_.back() == '{' ? State::key : State::value;
      return true;
    default:
      return take_value(c);
  }
}

bool JsonPrefix::take_value(char c) {
  if (c == '{' || c == '[') return open(c);
  if (c == '"') {
    is_key_ = false;
    state_ = State::string;
    return true;
  }
  if (c == '-' || is_digit(c)) {
    number_ = c == '-' ? Number::minus : c == '0' ? Number::zero : Number::integer;
    state_ = State::number;
    return true;
  }
  for (const std::string_view word : {"true", "false", "null"}) {
    if (c != word.front()) continue;
    word_ = word.substr(1);
    state_ = State::word;
    return true;
  }
  return false;
}

bool JsonPrefix::take_string(char c) {
  if (state_ == State::hex) {
    if (!is_hex(c)) return false;
    if (--hex_left_ == 0) state_ = State::string;
  } else if (state_ == State::escape) {
    if (std::string_view("\"\\/bfnrtu").find(c) == std::string_view::npos) return false;
    state_ = c == 'u' ? State::hex : State::string;
    hex_left_ = 4;
  } else if (c == '\\') {
    state_ = State::escape;
  } else if (c == '"') {
    if (is_key_)
      state_ = State::colon;
    else
      end_value();
  } else if (static_cast<unsigned char>(c) < 0x20) {
    return false;
  }
  return true;
}

bool JsonPrefix::take_number(char c) {
  const bool digit = is_digit(c), exponent = c == 'e' || c == 'E';
  switch (number_) {
    case Number::minus:
      if (!digit) return false;
      number_ = c == '0' ? Number::zero : Number::integer;
      return true;
    case Number::zero:
    case Number::integer:
      if (digit) return number_ == Number::integer;
      if (c != '.' && !exponent) return false;
      number_ = exponent ? Number::exponent : Number::point;
      return true;
    case Number::point:
      if (digit) number_ = Number::fraction;
      return digit;
    case Number::fraction:
      if (exponent) number_ = Number::exponent;
      return digit || exponent;
    case Number::exponent:
      if (!digit && c != '+' && c != '-') return false;
      number_ = digit ? Number::power : Number::sign;
      return true;
    case Number::sign:
    case Number::power:
      if (digit) number_ = Number::power;
      return digit;
  }
  return false;
}

bool JsonPrefix::open(char c) {
  if (open_.size() == kDepth) return false;
  open_ += c;
  state_ = c == '{' ? State::first_key : State::first_value;
  return true;
}

bool JsonPrefix::close(char c) {
  if (c != (open_.back() == '{' ? '}' : ']')) return false;
  open_.pop_back();
  end_value();
  return true;
}

void JsonPrefix::end_value() {
  state_ = open_.empty() ? State::over : State::after_value;
}

bool JsonPrefix::number_may_end() const {
  return number_ == Number::zero || number_ == Number::integer || number_ == Number::fraction ||
         number_ == Number::power;
}

}  // namespace hearth
