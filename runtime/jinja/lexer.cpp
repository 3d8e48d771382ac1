#include "runtime/jinja/lexer.h"

#include <algorithm>
#include <charconv>
#include <iterator>

#include "runtime/jinja/text.h"

namespace hearth::jinja {

void fail_at(const std::string& name, int line, const std::string& message) {
  fail(ErrorKind::model, "{}: line {}: {}", name, line, message);
}

std::string describe(const Token& token) {
  switch (token.kind) {
    case Token::Kind::block_begin:
      return "'{%'";
    case Token::Kind::block_end:
      return "'%}'";
    case Token::Kind::print_begin:
      return "'{{'";
    case Token::Kind::print_end:
      return "'}}'";
    case Token::Kind::end:
      return "the end of the template";
    case Token::Kind::data:
      return "text";
    case Token::Kind::text:
      return "a string";
    case Token::Kind::integer:
    case Token::Kind::real:
      return "a number";
    default:
      return "'" + token.text + "'";
  }
}

namespace {

bool is_word_start(char32_t c) {
  return c == '_' || is_alpha(c);
}
bool is_word(char32_t c) {
  return is_word_start(c) || is_digit(c);
}

std::string with_unix_newlines(std::string_view source) {
  std::string out;
  out.reserve(source.size());
  for (size_t i = 0; i < source.size(); ++i) {
    if (source[i] != '\r') {
      out += source[i];
    } else {
      out += '\n';
      if (i + 1 < source.size() && source[i + 1] == '\n') ++i;
    }
  }
  return out;
}

class Lexer {
 public:
  Lexer(std::string_view source, const std::string& name) : source_(with_unix_newlines(source)), name_(name) {
    if (source_.ends_with('\n')) source_.pop_back();
  }

  std::vector<Token> run() {
    while (at_ < source_.size()) {
      literal();
      if (at_ >= source_.size()) break;
      const char what = source_[at_ + 1];
      if (what == '#') {
        comment();
      } else if (what == '%' && is_raw()) {
        raw();
      } else {
        tag(what == '%');
      }
    }
    add(Token::Kind::end, "");
    return std::move(tokens_);
  }

 private:
  // --- Between tags.

  // Up to the next tag, whose sign says how much of the white space before it belongs to the text.
  void literal() {
    size_t end = at_;
    while (end < source_.size() && !(source_[end] == '{' && end + 1 < source_.size() &&
                                     (source_[end + 1] == '%' || source_[end + 1] == '{' || source_[end + 1] == '#')))
      ++end;
    std::string_view text = std::string_view(source_).substr(at_, end - at_);
    if (end < source_.size()) text = before_tag(text, end);
    add(Token::Kind::data, std::string(text));
    move_to(end);
  }

  // `text` stands before the tag at `tag`.
  std::string_view before_tag(std::string_view text, size_t tag) const {
    const char sign = tag + 2 < source_.size() ? source_[tag + 2] : ' ';
    if (sign == '-') return without_trailing_space(text);
    if (sign == '+' || source_[tag + 1] == '{') return text;
    const size_t newline = text.rfind('\n');
    const size_t line = newline == std::string_view::npos ? 0 : newline + 1;
    if (line == 0 && !line_starts_) return text;
    return without_trailing_space(text.substr(line)).empty() ? text.substr(0, line) : text;
  }

  static std::string_view without_trailing_space(std::string_view text) {
    size_t end = 0;
    for (size_t at = 0; at < text.size();)
      if (!is_space(next_code_point(text, at))) end = at;
    return text.substr(0, end);
  }

  void comment() {
    size_t inside = at_ + 2;
    if (inside < source_.size() && (source_[inside] == '-' || source_[inside] == '+')) ++inside;
    const size_t end = source_.find("#}", inside);
    if (end == std::string::npos) fail_here("expected '#}' after this '{#', found the end of the template");
    move_to(end + 2);
    after_block(end > inside ? source_[end - 1] : ' ');
  }

  // What follows a block or a comment: with '-' all white space goes, else one newline, with '+' nothing.
  void after_block(char sign) {
    if (sign == '-') {
      skip_space();
    } else if (sign != '+' && at_ < source_.size() && source_[at_] == '\n') {
      move_to(at_ + 1);
    }
    line_starts_ = at_ > 0 && source_[at_ - 1] == '\n';
  }

  bool is_raw() const {
    size_t at = at_ + 2;
    return word_of_block(at, "raw");
  }

  // Whether the tag whose inside begins at `at` says `word` and nothing else; `at` moves to its sign or '%}'.
  bool word_of_block(size_t& at, std::string_view word) const {
    if (at < source_.size() && (source_[at] == '-' || source_[at] == '+')) ++at;
    at = after_space(at);
    if (source_.compare(at, word.size(), word) != 0) return false;
    at = after_space(at + word.size());
    return source_.compare(at, 2, "%}") == 0 || source_.compare(at, 3, "-%}") == 0 ||
           source_.compare(at, 3, "+%}") == 0;
  }

  void raw() {
    size_t inside = at_ + 2;
    word_of_block(inside, "raw");
    if (source_[inside] == '+') fail_here("expected '%}' or '-%}' after 'raw', found '+%}'");
    const bool strip = source_[inside] == '-';
    const int line = line_;
    move_to(inside + (strip ? 3 : 2));
    if (strip) skip_space();
    line_starts_ = at_ > 0 && source_[at_ - 1] == '\n';
    for (size_t tag = at_; (tag = source_.find("{%", tag)) != std::string::npos; ++tag) {
      size_t end = tag + 2;
      if (!word_of_block(end, "endraw")) continue;
      add(Token::Kind::data, std::string(before_tag(std::string_view(source_).substr(at_, tag - at_), tag)));
      const char sign = source_[end];
      move_to(end + (sign == '%' ? 2 : 3));
      return after_block(sign);
    }
    line_ = line;
    fail_here("expected '{% endraw %}' after this '{% raw %}', found the end of the template");
  }

  // --- Inside a tag.

  void tag(bool block) {
    add(block ? Token::Kind::block_begin : Token::Kind::print_begin, "");
    size_t inside = at_ + 2;
    if (inside < source_.size() && (source_[inside] == '-' || (block && source_[inside] == '+'))) ++inside;
    move_to(inside);
    brackets_.clear();
    const int line = line_;
    for (;;) {
      skip_space();
      if (at_ >= source_.size()) {
        fail_at(name_, line, std::string("expected '") + (block ? "%}" : "}}") + "', found the end of the template");
      }
      if (brackets_.empty() && (block ? end_of_block() : end_of_print())) return;
      token();
    }
  }

  bool end_of_block() {
    const char sign = source_[at_];
    const size_t skip = sign == '-' || sign == '+' ? 1 : 0;
    if (source_.compare(at_ + skip, 2, "%}") != 0) return false;
    add(Token::Kind::block_end, "");
    move_to(at_ + skip + 2);
    after_block(sign);
    return true;
  }

  bool end_of_print() {
    const bool strip = source_[at_] == '-';
    if (source_.compare(at_ + strip, 2, "}}") != 0) return false;
    add(Token::Kind::print_end, "");
    move_to(at_ + strip + 2);
    if (strip) skip_space();
    line_starts_ = source_[at_ - 1] == '\n';
    return true;
  }

  void token() {
    const char c = source_[at_];
    if (c == '\'' || c == '"') return string();
    if (c >= '0' && c <= '9') return number();
    size_t end = at_;
    if (is_word_start(next_code_point(source_, end))) {
      for (size_t next = end; next < source_.size() && is_word(next_code_point(source_, next));) end = next;
      add(Token::Kind::name, source_.substr(at_, end - at_));
      return move_to(end);
    }
    symbol();
  }

  void symbol() {
    constexpr std::string_view kSymbols[] = {"//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
                                             "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    const auto found = std::find_if(std::begin(kSymbols), std::end(kSymbols),
                                    [&](std::string_view s) { return source_.compare(at_, s.size(), s) == 0; });
    if (found == std::end(kSymbols)) fail_here(fmt::format("expected an expression, found '{}'", source_[at_]));
    const char c = found->front();
    if (c == '(' || c == '[' || c == '{') brackets_ += c == '(' ? ')' : c == '[' ? ']' : '}';
    if (c == ')' || c == ']' || c == '}') {
      if (brackets_.empty()) fail_here(fmt::format("found '{}' that nothing opened", c));
      if (brackets_.back() != c) fail_here(fmt::format("expected '{}', found '{}'", brackets_.back(), c));
      brackets_.pop_back();
    }
    add(Token::Kind::symbol, std::string(*found));
    move_to(at_ + found->size());
  }

  bool digit_at(size_t i) const { return i < source_.size() && source_[i] >= '0' && source_[i] <= '9'; }

  // Digits with single underscores between them; their end.
  size_t after_digits(size_t at) const {
    while (digit_at(at)) at += 1 + (at + 1 < source_.size() && source_[at + 1] == '_' && digit_at(at + 2));
    return at;
  }

  void number() {
    if (source_[at_] == '0' && at_ + 2 < source_.size()) {
      const char letter = char(source_[at_ + 1] | 32);
      const int base = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
      if (base != 0) return integer(base, at_ + 2);
    }
    size_t end = after_digits(at_);
    const bool after_dot = at_ > 0 && source_[at_ - 1] == '.';  // x.0.1 are two items
    const size_t whole = end;
    if (!after_dot) {
      if (end < source_.size() && source_[end] == '.' && digit_at(end + 1)) end = after_digits(end + 1);
      if (end < source_.size() && (source_[end] | 32) == 'e') {
        const size_t sign = end + 1 < source_.size() && (source_[end + 1] == '+' || source_[end + 1] == '-');
        if (digit_at(end + 1 + sign)) end = after_digits(end + 1 + sign);
      }
    }
    if (end == whole) {
      const size_t other = source_.find_first_not_of("0_", at_);
      if (source_[at_] == '0' && other < end) fail_here("expected a number without leading zeros");
      return integer(10, at_);
    }
    Token& token = add(Token::Kind::real, without_underscores(at_, end));
    std::from_chars(token.text.data(), token.text.data() + token.text.size(), token.real);
    move_to(end);
  }

  void integer(int base, size_t begin) {
    size_t end = begin;
    while (end < source_.size() && (isalnum(static_cast<unsigned char>(source_[end])) || source_[end] == '_') &&
           (base > 10 || digit_at(end) || source_[end] == '_'))
      ++end;
    if (source_.substr(begin, end - begin).find("__") != std::string::npos || source_[end - 1] == '_')
      fail_here("expected digits between '_' in a number");
    Token& token = add(Token::Kind::integer, without_underscores(begin, end));
    const char* stop = token.text.data() + token.text.size();
    const auto [parsed, error] = std::from_chars(token.text.data(), stop, token.integer, base);
    if (error == std::errc::result_out_of_range)
      fail_here(fmt::format("expected a number of at most 64 bits, found {}", token.text));
    if (error != std::errc() || parsed != stop) fail_here(fmt::format("expected a number, found '{}'", token.text));
    move_to(end);
  }

  std::string without_underscores(size_t begin, size_t end) const {
    std::string digits = source_.substr(begin, end - begin);
    digits.erase(std::remove(digits.begin(), digits.end(), '_'), digits.end());
    return digits;
  }

  void string() {
    const char quote = source_[at_];
    const int line = line_;
    std::string text;
    size_t i = at_ + 1;
    while (i < source_.size() && source_[i] != quote) {
      if (source_[i] == '\\' && i + 1 < source_.size()) {
        ++i;
        escape(i, text);
      } else {
        text += source_[i++];
      }
    }
    if (i >= source_.size()) {
      fail_at(name_, line, std::string("expected ") + quote + " at the end of a string, found the end of the template");
    }
    add(Token::Kind::text, std::move(text));
    move_to(i + 1);
  }

  // Python's escapes; `i` is at the character after the backslash and moves past the escape.
  void escape(size_t& i, std::string& text) {
    constexpr std::string_view kLetters = "\\'\"abfnrtv";
    constexpr std::string_view kMeanings = "\\'\"\a\b\f\n\r\t\v";
    const char c = source_[i];
    if (const size_t letter = kLetters.find(c); letter != std::string_view::npos) {
      text += kMeanings[letter];
      ++i;
    } else if (c == '\n') {
      ++i;
    } else if (c >= '0' && c <= '7') {
      unsigned code = 0;
      for (int n = 0; n < 3 && i < source_.size() && source_[i] >= '0' && source_[i] <= '7'; ++n)
        code = code * 8 + unsigned(source_[i++] - '0');
      append_code_point(text, code);
    } else if (c == 'x' || c == 'u' || c == 'U') {
      append_code_point(text, hex_escape(i, c == 'x' ? 2 : c == 'u' ? 4 : 8));
    } else if (c == 'N') {
      fail_here("expected another escape than \\N{...} in a string: characters by name are not known");
    } else {  // not an escape
      text += '\\';
    }
  }

  char32_t hex_escape(size_t& i, size_t digits) const {
    const char* begin = source_.data() + i + 1;
    const char* end = begin + std::min(digits, source_.size() - i - 1);
    uint32_t code = 0;
    const auto [stop, error] = std::from_chars(begin, end, code, 16);
    if (error != std::errc() || size_t(stop - begin) != digits)
      fail_here(fmt::format("expected {} hexadecimal digits after '\\{}' in a string", digits, source_[i]));
    if (code > 0x10FFFF || (code >= 0xD800 && code < 0xE000))
      fail_here(fmt::format("expected a character after '\\{}' in a string, found U+{:04X}", source_[i], code));
    i += digits + 1;
    return code;
  }

  // --- Moving.

  Token& add(Token::Kind kind, std::string text) {
    if (kind == Token::Kind::data && text.empty()) return none_;
    tokens_.push_back({kind, line_, std::move(text)});
    return tokens_.back();
  }

  size_t after_space(size_t at) const {
    while (at < source_.size()) {
      size_t next = at;
      if (!is_space(next_code_point(source_, next))) break;
      at = next;
    }
    return at;
  }

  void skip_space() { move_to(after_space(at_)); }

  void move_to(size_t position) {
    line_ += int(std::count(source_.begin() + long(at_), source_.begin() + long(position), '\n'));
    at_ = position;
  }

  [[noreturn]] void fail_here(const std::string& message) const { fail_at(name_, line_, message); }

  std::string source_;
  const std::string& name_;
  std::vector<Token> tokens_;
  Token none_;
  std::string brackets_;  // those that must still close, the innermost last
  size_t at_ = 0;
  int line_ = 1;
  bool line_starts_ = true;  // nothing of the current line was before at_
};

}  // namespace

std::vector<Token> tokenize(std::string_view source, const std::string& name) {
  return Lexer(source, name).run();
}

}  // namespace hearth::jinja
