#include "runtime/jinja/format.h"

#include <algorithm>
#include <cmath>

#include "runtime/jinja/print.h"
#include "runtime/jinja/text_tools.h"

namespace hearth::jinja {

namespace {

// [[fill]align][sign][#][0][width][grouping][.precision][type], as both ways end up asking for.
struct Spec {
  std::string fill = " ";
  char align = 0;  // 0: left for text, right for numbers; '=': filled after the sign
  char sign = '-';
  bool alternate = false;
  int64_t width = 0;
  char grouping = 0;
  int64_t precision = -1;
  char type = 0;
};

class Formatter {
 public:
  Formatter(Interpreter& interpreter, const Value& format)
      : interpreter_(interpreter), budget_(interpreter.budget()), format_(format.text()), markup_(format.is_markup()) {
    budget_.step(format_.size() * 4);
  }

  Value result() { return interpreter_.text(std::move(out_), markup_); }

 protected:
  // --- Reading the format.

  char peek(size_t ahead = 0) const { return at_ + ahead < end() ? format_.bytes()[at_ + ahead] : '\0'; }
  size_t end() const { return format_.size(); }
  bool skip(char c) { return at_ < end() && peek() == c && (++at_, true); }

  int64_t digits() {
    int64_t n = 0;
    for (; peek() >= '0' && peek() <= '9'; ++at_) {
      n = n * 10 + (peek() - '0');
      if (n > 1'000'000'000) budget_.fail("expected a smaller number in a format, found {} and more digits", n);
    }
    return n;
  }

  // --- Writing values.

  void put(const Text& text) {
    budget_.step(text.size());
    budget_.expect_room(out_.footprint() + text.footprint());
    out_.append(text);
  }

  void put_padded(const Text& text, const Spec& spec, char standard_align) {
    const char align = spec.align == 0 ? standard_align : spec.align;
    if (align == '<') return put(pad(budget_, text, spec.width, spec.fill, 0));
    if (align == '^') {
      const int64_t missing = spec.width - int64_t(text.length());
      return put(pad(budget_, pad(budget_, text, spec.width - (missing - missing / 2), spec.fill, 2), spec.width,
                     spec.fill, 0));
    }
    const size_t sign =
        align == '=' && !text.empty() && std::string_view("+- ").find(text.bytes()[0]) != std::string_view::npos;
    put(text.slice(0, sign));
    put(pad(budget_, text.slice(sign, text.size()), spec.width - int64_t(sign), spec.fill, 2));
  }

  void put_text(const Text& text, const Spec& spec) {
    const bool cut = spec.precision >= 0;
    put_padded(cut ? text.slice(0, text.position_of(size_t(spec.precision))) : text, spec, '<');
  }

  void put_number(const Value& value, const Spec& spec) {
    std::string digits;
    bool negative = false;
    if (value.is_float() || std::string_view("eEfFgG%").find(spec.type) != std::string_view::npos) {
      if (spec.type != 0 && spec.type != 'n' && std::string_view("eEfFgG%").find(spec.type) == std::string_view::npos)
        budget_.fail("expected an integer for the format '{}', found 'float'", spec.type);
      const double number = value.number();
      negative = std::signbit(number);
      digits = float_digits(std::fabs(number), spec);
    } else {
      negative = value.integer() < 0;
      const uint64_t magnitude = negative ? 0 - uint64_t(value.integer()) : uint64_t(value.integer());
      digits = integer_digits(magnitude, spec);
    }
    if (spec.grouping != 0) group(digits, spec.grouping);
    if (negative) {
      digits.insert(0, "-");
    } else if (spec.sign != '-') {
      digits.insert(0, 1, spec.sign);
    }
    put_padded(Text(digits, value.source()), spec, '>');
  }

  std::string integer_digits(uint64_t n, const Spec& spec) {
    switch (spec.type) {
      case 'x':
        return spec.alternate ? fmt::format("{:#x}", n) : fmt::format("{:x}", n);
      case 'X':
        return spec.alternate ? fmt::format("{:#X}", n) : fmt::format("{:X}", n);
      case 'o':
        return fmt::format("{}{:o}", spec.alternate ? "0o" : "", n);
      case 'b':
        return spec.alternate ? fmt::format("{:#b}", n) : fmt::format("{:b}", n);
      case 'd':
      case 'i':
      case 'u':
      case 'n':
      case 0:
        return padded_digits(std::to_string(n), spec.precision);
      default:
        budget_.fail("there is no format '{}' for an integer", spec.type);
    }
  }

  static std::string padded_digits(std::string digits, int64_t precision) {
    if (int64_t(digits.size()) < precision && precision < 1000)
      digits.insert(0, size_t(precision) - digits.size(), '0');
    return digits;
  }

  std::string float_digits(double d, const Spec& spec) {
    const int precision = int(std::min<int64_t>(spec.precision < 0 ? 6 : spec.precision, 1000));
    switch (spec.type) {
      case 'e':
        return fmt::format("{:.{}e}", d, precision);
      case 'E':
        return fmt::format("{:.{}E}", d, precision);
      case 'f':
      case 'F':
        return fmt::format("{:.{}f}", d, precision);
      case 'g':
      case 'n':
        return fmt::format("{:.{}g}", d, precision);
      case 'G':
        return fmt::format("{:.{}G}", d, precision);
      case '%':
        return fmt::format("{:.{}f}%", d * 100, precision);
      case 0:
        break;
      default:
        budget_.fail("there is no format '{}' for a number", spec.type);
    }
    if (spec.precision < 0) return float_text(d);
    const std::string text = fmt::format("{:.{}g}", d, std::max(precision, 1));
    return text.find_first_of(".en") == std::string::npos ? text + ".0" : text;
  }

  static void group(std::string& digits, char separator) {
    size_t whole = 0;
    while (whole < digits.size() && digits[whole] >= '0' && digits[whole] <= '9') ++whole;
    for (; whole > 3; whole -= 3) digits.insert(whole - 3, 1, separator);
  }

  Text str(const Value& value) { return markup_ ? escaped(budget_, value) : to_text(budget_, value); }

  Text repr(const Value& value) {
    Text out;
    append_repr(budget_, out, value);
    return markup_ ? escape(budget_, out) : out;
  }

  Interpreter& interpreter_;
  Budget& budget_;
  const Text& format_;
  const bool markup_;
  size_t at_ = 0;
  Text out_;
};

class Percent : Formatter {
 public:
  Percent(Interpreter& interpreter, const Value& format, const Value& values)
      : Formatter(interpreter, format), values_(values) {
    if (values.list() != nullptr && values.list()->kind == List::Kind::tuple) {
      items_ = values.list()->items;
    } else {
      items_ = {values};
    }
  }

  Value run() {
    while (at_ < end()) {
      const size_t percent = std::min(format_.bytes().find('%', at_), end());
      put(format_.slice(at_, percent));
      at_ = percent + 1;
      if (percent < end()) conversion();
    }
    if (next_ < items_.size() && values_.dict() == nullptr)
      budget_.fail("not all arguments converted during string formatting");
    return result();
  }

 private:
  void conversion() {
    const int source = format_.source_at(at_ - 1);
    std::optional<Value> named;
    if (skip('(')) {
      const size_t close = format_.bytes().find(')', at_);
      if (close == std::string::npos || values_.dict() == nullptr)
        budget_.fail("expected a dict for a format with names");
      const Value* value = values_.dict()->find(std::string_view(format_.bytes()).substr(at_, close - at_));
      if (value == nullptr)
        budget_.fail("the format names '{}', which is not given", format_.bytes().substr(at_, close - at_));
      named = *value;
      at_ = close + 1;
    }
    Spec spec = flags();
    if (at_ >= end()) budget_.fail("incomplete format");
    spec.type = peek();
    ++at_;
    if (spec.type == '%') return put(Text("%", source));
    convert(named ? *named : next(), spec);
  }

  Spec flags() {
    Spec spec;
    spec.align = '>';
    bool zero = false, left = false;
    for (;; ++at_) {
      if (peek() == '-') {
        left = true;
      } else if (peek() == '0') {
        zero = true;
      } else if (peek() == '+' || (peek() == ' ' && spec.sign != '+')) {
        spec.sign = peek();
      } else if (peek() == '#') {
        spec.alternate = true;
      } else if (peek() != ' ') {
        break;
      }
    }
    spec.width = digits();
    if (skip('.')) spec.precision = digits();
    while (peek() == 'l' || peek() == 'h' || peek() == 'L') ++at_;
    if (left) {
      spec.align = '<';
    } else if (zero) {
      spec.align = '=';
    }
    return spec;
  }

  Value next() {
    if (next_ >= items_.size()) budget_.fail("not enough arguments for format string");
    return items_[next_++];
  }

  void convert(const Value& value, Spec spec) {
    if (spec.type == 's' || spec.type == 'r' || spec.type == 'a' || spec.type == 'c') {
      if (spec.align == '=') spec.align = '>';
      const Text text = spec.type == 's' ? str(value) : spec.type == 'c' ? character(value) : repr(value);
      return put_text(text, spec);
    }
    if (!value.is_number())
      budget_.fail("expected a number for the format '%{}', found '{}'", spec.type, type_name(value));
    if (spec.align == '=') spec.fill = "0";
    const bool integral = std::string_view("diu").find(spec.type) != std::string_view::npos;
    if (!integral || !value.is_float()) return put_number(value, spec);
    if (!(std::fabs(value.number()) < 9.2e18))
      budget_.fail("expected a number that fits 64 bits, found {}", value.number());
    put_number({int64_t(value.number()), value.source()}, spec);
  }

  Text character(const Value& value) {
    if (value.is_text() && value.text().length() == 1) return value.text();
    if (!value.is_integer() || value.integer() < 0 || value.integer() > 0x10FFFF ||
        (value.integer() >= 0xD800 && value.integer() < 0xE000))
      budget_.fail("expected a character for the format '%c'");
    std::string bytes;
    append_code_point(bytes, char32_t(value.integer()));
    return Text(bytes, value.source());
  }

  const Value& values_;
  Values items_;
  size_t next_ = 0;
};

class Braces : Formatter {
 public:
  Braces(Interpreter& interpreter, const Value& format, const Arguments& arguments)
      : Formatter(interpreter, format), arguments_(arguments) {}

  Value run() {
    while (at_ < end()) {
      const size_t brace = std::min(format_.bytes().find_first_of("{}", at_), end());
      put(format_.slice(at_, brace));
      at_ = brace + 1;
      if (brace >= end()) break;
      const char c = format_.bytes()[brace];
      if (peek() == c && at_ < end()) {
        put(format_.slice(brace, at_));
        ++at_;
      } else if (c == '}') {
        budget_.fail("Single '}}' encountered in format string");
      } else {
        field();
      }
    }
    return result();
  }

 private:
  // {name.attribute[key]!conversion:spec}
  void field() {
    Value value = argument(word(".[!:}"));
    for (;;) {
      if (skip('.')) {
        value = interpreter_.attribute(value, word(".[!:}"));
      } else if (skip('[')) {
        const std::string key = word("]");
        if (!skip(']')) budget_.fail("expected '}}' before end of string");
        value = interpreter_.item(value, is_number(key) ? Value(int64_t(std::stoll(key))) : Value::constant(key));
      } else {
        break;
      }
      if (value.is_undefined()) budget_.fail("{}", *value.as_undefined().why);
    }
    if (skip('!')) value = converted(value);
    Spec spec;
    if (skip(':')) spec = read_spec();
    if (!skip('}')) budget_.fail("expected '}}' before end of string");
    put_value(value, spec);
  }

  std::string word(const char* ends) {
    const size_t stop = std::min(format_.bytes().find_first_of(ends, at_), end());
    std::string found = format_.bytes().substr(at_, stop - at_);
    at_ = stop;
    return found;
  }

  static bool is_number(const std::string& s) {
    return !s.empty() && s.size() < 10 && std::all_of(s.begin(), s.end(), [](char c) { return c >= '0' && c <= '9'; });
  }

  Value argument(const std::string& name) {
    if (name.empty() || is_number(name)) {
      const size_t i = name.empty() ? next_++ : size_t(std::stoll(name));
      if ((name.empty() ? numbered_ : next_ > 0))
        budget_.fail("cannot switch between automatic and manual field numbering");
      numbered_ = numbered_ || !name.empty();
      if (i >= arguments_.positional.size()) budget_.fail("the format names argument {}, which is not given", i);
      return arguments_.positional[i];
    }
    for (const auto& [key, value] : arguments_.named)
      if (key == name) return value;
    budget_.fail("the format names '{}', which is not given", name);
  }

  Value converted(const Value& value) {
    const char how = peek();
    ++at_;
    if (how == 's') return interpreter_.text(to_text(budget_, value));
    if (how == 'r' || how == 'a') return interpreter_.text(repr(value));
    budget_.fail("expected !s or !r in a format");
  }

  Spec read_spec() {
    Spec spec;
    const auto is_align = [](char c) { return c == '<' || c == '>' || c == '^' || c == '='; };
    if (at_ < end() && peek() != '}') {
      size_t next = at_;
      next_code_point(format_.bytes(), next);
      if (next < end() && is_align(format_.bytes()[next])) {
        spec.fill = format_.bytes().substr(at_, next - at_);
        spec.align = format_.bytes()[next];
        at_ = next + 1;
      } else if (is_align(peek())) {
        spec.align = peek();
        ++at_;
      }
    }
    if (peek() == '+' || peek() == '-' || peek() == ' ') spec.sign = format_.bytes()[at_++];
    spec.alternate = skip('#');
    if (skip('0') && spec.align == 0) {
      spec.fill = "0";
      spec.align = '=';
    }
    spec.width = digits();
    if (peek() == ',' || peek() == '_') spec.grouping = format_.bytes()[at_++];
    if (skip('.')) spec.precision = digits();
    if (at_ < end() && peek() != '}') spec.type = format_.bytes()[at_++];
    return spec;
  }

  void put_value(const Value& value, Spec spec) {
    const bool plain = spec.type == 0 && spec.width == 0 && spec.align == 0 && spec.precision < 0 &&
                       spec.grouping == 0 && spec.sign == '-';
    if (value.is_number() && !(value.is_bool() && spec.type == 0)) {
      if (value.is_integer() && spec.precision >= 0 &&
          std::string_view("eEfFgG%").find(spec.type) == std::string_view::npos)
        budget_.fail("expected no precision in the format of an integer");
      return put_number(value, spec);
    }
    if (!value.is_text() && !value.is_bool() && !plain)
      budget_.fail("expected a string or a number for a format with details, found '{}'", type_name(value));
    if (spec.type != 0 && spec.type != 's')
      budget_.fail("there is no format '{}' for '{}'", spec.type, type_name(value));
    if (spec.align == '=') {
      if (spec.fill != "0") budget_.fail("expected another alignment than '=' for a string");
      spec.align = '<';
    }
    put_text(str(value), spec);
  }

  const Arguments& arguments_;
  size_t next_ = 0;
  bool numbered_ = false;
};

}  // namespace

Value format_percent(Interpreter& interpreter, const Value& format, const Value& values) {
  return Percent(interpreter, format, values).run();
}

Value format_braces(Interpreter& interpreter, const Value& format, const Arguments& arguments) {
  return Braces(interpreter, format, arguments).run();
}

}  // namespace hearth::jinja
