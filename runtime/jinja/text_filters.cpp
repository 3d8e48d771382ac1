// Filters that make text or numbers of one value.
#include <algorithm>
#include <charconv>
#include <cmath>

#include "runtime/jinja/filters.h"
#include "runtime/jinja/format.h"
#include "runtime/jinja/print.h"
#include "runtime/jinja/text_tools.h"

namespace hearth::jinja {

namespace {

Text text_of(Interpreter& interpreter, const Value& value) {
  return to_text(interpreter.budget(), value);
}

// --- Strings.

Value filter_string(Interpreter& i, const Value& v, const Bound&) {
  return v.is_text() ? v : i.text(text_of(i, v));
}
Value filter_upper(Interpreter& i, const Value& v, const Bound&) {
  return i.text(upper(i.budget(), text_of(i, v)));
}
Value filter_lower(Interpreter& i, const Value& v, const Bound&) {
  return i.text(lower(i.budget(), text_of(i, v)));
}
Value filter_capitalize(Interpreter& i, const Value& v, const Bound&) {
  return i.text(capitalize(i.budget(), text_of(i, v)));
}

Value filter_title(Interpreter& i, const Value& v, const Bound&) {
  const auto starts_word = [](char32_t before) {
    return is_space(before) || before == '-' || before == '(' || before == '{' || before == '[' || before == '<';
  };
  return i.text(title(i.budget(), text_of(i, v), starts_word));
}

Value filter_trim(Interpreter& i, const Value& v, const Bound& args) {
  std::optional<Text> chars;
  if (args.has(0) && !args[0].is_none()) chars = args.text(0);
  return i.text(strip(i.budget(), text_of(i, v), chars, Side::both));
}

Value filter_replace(Interpreter& i, const Value& v, const Bound& args) {
  const int64_t limit = args.has(2) && args[2].is_none() ? -1 : args.integer(2, -1);
  return i.text(replace(i.budget(), text_of(i, v), text_of(i, args[0]).bytes(), text_of(i, args[1]), limit));
}

Value filter_center(Interpreter& i, const Value& v, const Bound& args) {
  return i.call(i.attribute(i.text(text_of(i, v)), "center"), {{args.integer(0, 80)}, {}});
}

Value filter_indent(Interpreter& i, const Value& v, const Bound& args) {
  Budget& budget = i.budget();
  Text indention;
  if (args.has(0) && args[0].is_text()) {
    indention = args[0].text();
  } else {
    indention = pad(budget, {}, args.integer(0, 4), " ", 0);
  }
  const bool first = args.boolean(1, false), blank = args.boolean(2, false);
  Text text = text_of(i, v);
  text.append("\n", 0);  // so that the last line counts even if it is empty
  Text out;
  bool first_line = true;
  for (const Text& line : split_lines(budget, text, false)) {
    budget.step(indention.size() + line.size());
    budget.expect_room(out.footprint() + indention.footprint() + line.footprint());
    if (!first_line) out.append("\n", 0);
    if (first_line ? first : blank || !line.empty()) out.append(indention);
    out.append(line);
    first_line = false;
  }
  return i.text(std::move(out));
}

Value filter_truncate(Interpreter& i, const Value& v, const Bound& args) {
  Budget& budget = i.budget();
  const Text text = text_of(i, v), end = args.text(2, "...");
  const int64_t length = args.integer(0, 255), leeway = args.integer(3, 5), end_length = int64_t(end.length());
  if (length < end_length) budget.fail("expected a length of at least {} for truncate, found {}", end_length, length);
  if (leeway < 0) budget.fail("expected a leeway of at least 0 for truncate, found {}", leeway);
  budget.step(text.size());
  if (int64_t(text.length()) <= length || int64_t(text.length()) - length <= leeway) return i.text(text, v.is_markup());
  Text kept = text.slice(0, text.position_of(size_t(length - end_length)));
  if (!args.boolean(1, false)) kept = split(budget, kept, " ", 1, true)[0];
  kept.append(v.is_markup() ? escape(budget, end) : end);
  return i.text(std::move(kept), v.is_markup());
}

Value filter_escape(Interpreter& i, const Value& v, const Bound&) {
  return i.text(escaped(i.budget(), v), true);
}
Value filter_forceescape(Interpreter& i, const Value& v, const Bound&) {
  return i.text(escape(i.budget(), text_of(i, v)), true);
}
Value filter_safe(Interpreter& i, const Value& v, const Bound&) {
  return i.text(text_of(i, v), true);
}

Value filter_format(Interpreter& i, const Value& v, const Bound& args) {
  Budget& budget = i.budget();
  if (args.all.named.empty())
    return format_percent(i, filter_string(i, v, args), make_list(budget, args.all.positional, List::Kind::tuple));
  if (!args.all.positional.empty()) budget.fail("expected arguments for 'format' either with names or without");
  Entries named;
  for (const auto& [name, value] : args.all.named) named.emplace_back(Value::constant(name), value);
  return format_percent(i, filter_string(i, v, args), make_dict(budget, std::move(named)));
}

Value filter_wordcount(Interpreter& i, const Value& v, const Bound&) {
  const Text text = text_of(i, v);
  int64_t words = 0;
  bool inside = false;
  for (size_t at = 0; at < text.size();) {
    const char32_t c = next_code_point(text.bytes(), at);
    const bool word = c == '_' || is_alpha(c) || is_digit(c);
    words += word && !inside;
    inside = word;
  }
  return words;
}

void append_quoted(Interpreter& i, Text& out, const Text& text, std::string_view safe) {
  i.budget().step(text.size() * 4);
  i.budget().expect_room(text.size() * 3);
  text.each_run([&](std::string_view bytes, int source) {
    for (const char c : bytes) {
      const unsigned char b = static_cast<unsigned char>(c);
      const bool plain = (b < 128 && (isalnum(b) || std::string_view("_.-~").find(c) != std::string_view::npos)) ||
                         safe.find(c) != std::string_view::npos;
      out.append(plain ? std::string(1, c) : fmt::format("%{:02X}", b), source);
    }
  });
}

Value filter_urlencode(Interpreter& i, const Value& v, const Bound&) {
  Budget& budget = i.budget();
  Text out;
  if (v.is_text() || !is_iterable(v)) {
    append_quoted(i, out, text_of(i, v), "/");
    return i.text(std::move(out));
  }
  const Value pairs = v.dict() == nullptr ? v : i.call(i.attribute(v, "items"), {});
  for (const Value& pair : iterate(budget, pairs)) {
    const Values two = iterate(budget, pair);
    if (two.size() != 2) budget.fail("expected pairs to encode, found {} values", two.size());
    if (!out.empty()) out.append("&", 0);
    append_quoted(i, out, text_of(i, two[0]), "");
    out.append("=", 0);
    append_quoted(i, out, text_of(i, two[1]), "");
  }
  return i.text(replace(budget, out, "%20", Text("+", out.any_source()), -1));
}

Value filter_tojson(Interpreter& i, const Value& v, const Bound& args) {
  JsonStyle style;
  style.ascii = args.boolean(0, false);
  if (args.has(1) && !args[1].is_none()) {
    style.pretty = true;
    style.indent = args[1].is_text() ? args[1].text() : pad(i.budget(), {}, args.integer(1, 0), " ", 0);
    style.item_separator = ",";
  }
  if (args.has(2) && !args[2].is_none()) {
    const Values two = iterate(i.budget(), args[2]);
    if (two.size() != 2 || !two[0].is_text() || !two[1].is_text())
      i.budget().fail("expected two strings as separators of 'tojson'");
    style.item_separator = two[0].text().bytes();
    style.key_separator = two[1].text().bytes();
  }
  style.sort_keys = args.boolean(3, false);
  return i.text(to_json(i.budget(), v, style));
}

// --- Numbers.

std::string number_in(Interpreter& i, const Text& text) {
  std::string digits = strip(i.budget(), text, {}, Side::both).bytes();
  for (size_t at = 1; at + 1 < digits.size(); ++at)
    if (digits[at] == '_' && isalnum(static_cast<unsigned char>(digits[at - 1])) &&
        isalnum(static_cast<unsigned char>(digits[at + 1])))
      digits.erase(at, 1);
  return digits;
}

std::optional<double> parse_float(Interpreter& i, const Text& text) {
  std::string digits = number_in(i, text);
  if (digits.starts_with('+') && !digits.starts_with("+-")) digits.erase(0, 1);
  double value = 0;
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, value);
  if (stop != end || digits.empty() || digits.find('(') != std::string::npos) return std::nullopt;
  if (error == std::errc::result_out_of_range) return std::strtod(digits.c_str(), nullptr);
  return error == std::errc() ? std::optional(value) : std::nullopt;
}

std::optional<int64_t> parse_integer(Interpreter& i, const Text& text, int64_t base) {
  std::string digits = number_in(i, text);
  const bool negative = digits.starts_with('-');
  if (negative || digits.starts_with('+')) digits.erase(0, 1);
  const char letter = digits.size() > 2 && digits[0] == '0' ? char(digits[1] | 32) : ' ';
  const int prefix = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
  if (prefix != 0 && (base == prefix || base == 0)) {
    digits.erase(0, 2);
    base = prefix;
  } else if (base == 0) {
    base = 10;
  }
  if (base < 2 || base > 36 || digits.starts_with('-')) return std::nullopt;
  if (negative) digits.insert(0, 1, '-');
  int64_t value = 0;
  const char* end = digits.data() + digits.size();
  const auto [stop, error] = std::from_chars(digits.data(), end, value, int(base));
  if (stop == end && error == std::errc::result_out_of_range)
    i.budget().fail("expected a number that fits 64 bits, found a larger one");
  return stop == end && error == std::errc() ? std::optional(value) : std::nullopt;
}

int64_t truncated(Interpreter& i, double d) {
  if (!(d > -9.2e18 && d < 9.2e18)) i.budget().fail("expected a number that fits 64 bits, found {}", float_text(d));
  return int64_t(d);
}

Value filter_int(Interpreter& i, const Value& v, const Bound& args) {
  const Value standard = args.has(0) ? args[0] : Value(int64_t(0));
  if (v.is_undefined()) i.budget().fail("{}", *v.as_undefined().why);
  if (v.is_integer()) return {v.integer(), v.source()};
  if (v.is_float()) return std::isnan(v.number()) ? standard : Value(truncated(i, v.number()), v.source());
  if (!v.is_text()) return standard;
  const int source = v.text().any_source();
  if (const auto value = parse_integer(i, v.text(), args.integer(1, 10))) return {*value, source};
  const auto value = parse_float(i, v.text());
  if (!value || !std::isfinite(*value)) return standard;
  return {truncated(i, *value), source};
}

Value filter_float(Interpreter& i, const Value& v, const Bound& args) {
  const Value standard = args.has(0) ? args[0] : Value(0.0);
  if (v.is_undefined()) i.budget().fail("{}", *v.as_undefined().why);
  if (v.is_number()) return {v.number(), v.source()};
  if (!v.is_text()) return standard;
  const auto value = parse_float(i, v.text());
  return value ? Value(*value, v.text().any_source()) : standard;
}

const Value& number_of(Interpreter& i, const Value& v, const char* filter) {
  if (v.is_undefined()) i.budget().fail("{}", *v.as_undefined().why);
  if (!v.is_number()) i.budget().fail("expected a number for '{}', found '{}'", filter, type_name(v));
  return v;
}

Value filter_abs(Interpreter& i, const Value& v, const Bound&) {
  if (number_of(i, v, "abs").number() < 0) return negative(i.budget(), v);
  return v.is_float() ? Value(std::fabs(v.number()), v.source()) : Value(v.integer(), v.source());
}

// As Python's round(): the nearest decimal of that many digits, of two as near the even one.
double rounded(double d, int64_t digits) {
  if (!std::isfinite(d) || digits > 300) return d;
  if (digits < 0) {
    const double unit = std::pow(10.0, double(-digits));
    return std::isfinite(unit) ? std::nearbyint(d / unit) * unit : 0.0 * d;
  }
  return std::strtod(fmt::format("{:.{}f}", d, int(digits)).c_str(), nullptr);
}

Value filter_round(Interpreter& i, const Value& v, const Bound& args) {
  number_of(i, v, "round");
  const int64_t digits = args.integer(0, 0);
  const std::string method = args.text(1, "common").bytes();
  if (method == "common") {
    if (v.is_integer() && digits >= 0) return {v.integer(), v.source()};
    if (v.is_integer()) return {truncated(i, rounded(v.number(), digits)), v.source()};
    return {rounded(v.number(), digits), v.source()};
  }
  if (method != "ceil" && method != "floor")
    i.budget().fail("expected 'common', 'ceil' or 'floor' as method of 'round', found '{}'", method);
  const double scale = std::pow(10.0, double(digits)), scaled = v.number() * scale;
  return {(method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) / scale, v.source()};
}

// --- Others.

Value filter_default(Interpreter&, const Value& v, const Bound& args) {
  if (!v.is_undefined() && (!args.boolean(1, false) || truth(v))) return v;
  return args.has(0) ? args[0] : Value::constant("");
}

constexpr Builtin kTextFilters[] = {
    {"abs", "", filter_abs},
    {"capitalize", "", filter_capitalize, kKeepsMarkup},
    {"center", "/ width", filter_center, kKeepsMarkup},
    {"d", "/ default_value boolean", filter_default},
    {"default", "/ default_value boolean", filter_default},
    {"e", "", filter_escape},
    {"escape", "", filter_escape},
    {"float", "/ default", filter_float},
    {"forceescape", "", filter_forceescape},
    {"format", "...", filter_format},
    {"indent", "/ width first blank", filter_indent, kKeepsMarkup},
    {"int", "/ default base", filter_int},
    {"lower", "", filter_lower, kKeepsMarkup},
    {"replace", "old new / count", filter_replace},
    {"round", "/ precision method", filter_round},
    {"safe", "", filter_safe},
    {"string", "", filter_string},
    {"title", "", filter_title},
    {"tojson", "/ ensure_ascii indent separators sort_keys", filter_tojson},
    {"trim", "/ chars", filter_trim, kKeepsMarkup},
    {"truncate", "/ length killwords end leeway", filter_truncate},
    {"upper", "", filter_upper, kKeepsMarkup},
    {"urlencode", "", filter_urlencode},
    {"wordcount", "", filter_wordcount},
};

}  // namespace

std::span<const Builtin> text_filters() {
  return kTextFilters;
}

}  // namespace hearth::jinja
