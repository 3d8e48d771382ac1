// Methods of strings, as Python has them.
#include <algorithm>
#include <iterator>

#include "runtime/jinja/builtins.h"
#include "runtime/jinja/format.h"
#include "runtime/jinja/objects.h"
#include "runtime/jinja/text_tools.h"

namespace hearth::jinja {

namespace {

Value list_of(Interpreter& interpreter, std::vector<Text> parts) {
  Values items;
  items.reserve(parts.size());
  for (Text& part : parts) items.push_back(interpreter.text(std::move(part)));
  return make_list(interpreter.budget(), std::move(items));
}

Value split_method(Interpreter& interpreter, const Text& text, const Bound& args, bool from_right) {
  const int64_t limit = args.integer(1, -1);
  if (!args.has(0) || args[0].is_none())
    return list_of(interpreter, split_at_space(interpreter.budget(), text, limit, from_right));
  return list_of(interpreter, split(interpreter.budget(), text, args.text(0).bytes(), limit, from_right));
}

Value str_split(Interpreter& i, const Value& s, const Bound& args) {
  return split_method(i, s.text(), args, false);
}
Value str_rsplit(Interpreter& i, const Value& s, const Bound& args) {
  return split_method(i, s.text(), args, true);
}

Value str_splitlines(Interpreter& i, const Value& s, const Bound& args) {
  return list_of(i, split_lines(i.budget(), s.text(), args.boolean(0, false)));
}

Value partition_method(Interpreter& interpreter, const Text& text, const Bound& args, bool from_right) {
  const Text& separator = args.text(0);
  const auto parts = split(interpreter.budget(), text, separator.bytes(), 1, from_right);
  Values items;
  if (parts.size() == 2) {
    const size_t at = parts[0].size();
    for (const Text& part : {parts[0], text.slice(at, at + separator.size()), parts[1]})
      items.push_back(interpreter.text(part));
  } else {
    for (int n = 0; n < 3; ++n) items.push_back(interpreter.text(n == (from_right ? 2 : 0) ? text : Text()));
  }
  return make_list(interpreter.budget(), std::move(items), List::Kind::tuple);
}

Value str_partition(Interpreter& i, const Value& s, const Bound& args) {
  return partition_method(i, s.text(), args, false);
}
Value str_rpartition(Interpreter& i, const Value& s, const Bound& args) {
  return partition_method(i, s.text(), args, true);
}

Value strip_method(Interpreter& interpreter, const Text& text, const Bound& args, Side side) {
  std::optional<Text> chars;
  if (args.has(0) && !args[0].is_none()) chars = args.text(0);
  return interpreter.text(strip(interpreter.budget(), text, chars, side));
}

Value str_strip(Interpreter& i, const Value& s, const Bound& args) {
  return strip_method(i, s.text(), args, Side::both);
}
Value str_lstrip(Interpreter& i, const Value& s, const Bound& args) {
  return strip_method(i, s.text(), args, Side::left);
}
Value str_rstrip(Interpreter& i, const Value& s, const Bound& args) {
  return strip_method(i, s.text(), args, Side::right);
}

// The part of a text from argument `first` to the one after it, which many methods look at. Null: it is empty because
// it would begin after the end.
std::optional<std::pair<size_t, size_t>> window(Budget& budget, const Text& text, const Bound& args, size_t first) {
  budget.step(text.size());
  if (!args.has(first)) return {{0, text.size()}};
  const int64_t length = int64_t(text.length());
  const auto position = [&](size_t i, int64_t standard) {
    if (!args.has(i) || args[i].is_none()) return standard;
    const int64_t at = args.integer(i, standard);
    return at < 0 ? std::max<int64_t>(at + length, 0) : at;
  };
  const int64_t begin = position(first, 0), end = std::min(position(first + 1, length), length);
  if (begin > end) return std::nullopt;
  return {{text.position_of(size_t(begin)), text.position_of(size_t(end))}};
}

Value ends_method(Interpreter& interpreter, const Text& text, const Bound& args, bool at_start) {
  Budget& budget = interpreter.budget();
  const auto part = window(budget, text, args, 1);
  const auto matches = [&](const Value& affix) {
    if (!affix.is_text()) budget.fail("expected a string or a tuple of strings, found '{}'", type_name(affix));
    if (!part) return false;
    const auto inside = std::string_view(text.bytes()).substr(part->first, part->second - part->first);
    return at_start ? inside.starts_with(affix.text().bytes()) : inside.ends_with(affix.text().bytes());
  };
  const List* several = args[0].list();
  if (several == nullptr || several->kind != List::Kind::tuple) return matches(args[0]);
  return std::any_of(several->items.begin(), several->items.end(), matches);
}

Value str_startswith(Interpreter& i, const Value& s, const Bound& args) {
  return ends_method(i, s.text(), args, true);
}
Value str_endswith(Interpreter& i, const Value& s, const Bound& args) {
  return ends_method(i, s.text(), args, false);
}

int64_t find_in(Interpreter& interpreter, const Text& text, const Bound& args, bool last) {
  const auto part = window(interpreter.budget(), text, args, 1);
  const std::string& wanted = args.text(0).bytes();
  if (!part) return -1;
  const auto inside = std::string_view(text.bytes()).substr(part->first, part->second - part->first);
  const size_t at = last ? inside.rfind(wanted) : inside.find(wanted);
  if (at == std::string_view::npos) return -1;
  return int64_t(text.slice(0, part->first + at).length());
}

Value str_find(Interpreter& i, const Value& s, const Bound& args) {
  return find_in(i, s.text(), args, false);
}
Value str_rfind(Interpreter& i, const Value& s, const Bound& args) {
  return find_in(i, s.text(), args, true);
}

Value found(Interpreter& interpreter, int64_t index) {
  if (index < 0) interpreter.budget().fail("substring not found");
  return index;
}

Value str_index(Interpreter& i, const Value& s, const Bound& args) {
  return found(i, find_in(i, s.text(), args, false));
}
Value str_rindex(Interpreter& i, const Value& s, const Bound& args) {
  return found(i, find_in(i, s.text(), args, true));
}

Value str_count(Interpreter& interpreter, const Value& s, const Bound& args) {
  const Text& text = s.text();
  const auto part = window(interpreter.budget(), text, args, 1);
  const std::string& wanted = args.text(0).bytes();
  if (!part) return int64_t(0);
  const Text inside = text.slice(part->first, part->second);
  if (wanted.empty()) return int64_t(inside.length()) + 1;
  return int64_t(split(interpreter.budget(), inside, wanted, -1, false).size()) - 1;
}

Value str_replace(Interpreter& i, const Value& s, const Bound& args) {
  const Text by = s.is_markup() ? escaped(i.budget(), args[1]) : args.text(1);
  return i.text(replace(i.budget(), s.text(), args.text(0).bytes(), by, args.integer(2, -1)));
}

Value str_removeprefix(Interpreter& i, const Value& s, const Bound& args) {
  const Text& text = s.text();
  return text.bytes().starts_with(args.text(0).bytes()) ? i.text(text.slice(args.text(0).size(), text.size())) : s;
}

Value str_removesuffix(Interpreter& i, const Value& s, const Bound& args) {
  const Text& text = s.text();
  return text.bytes().ends_with(args.text(0).bytes()) ? i.text(text.slice(0, text.size() - args.text(0).size())) : s;
}

Value str_upper(Interpreter& i, const Value& s, const Bound&) {
  return i.text(upper(i.budget(), s.text()));
}
Value str_lower(Interpreter& i, const Value& s, const Bound&) {
  return i.text(lower(i.budget(), s.text()));
}
Value str_capitalize(Interpreter& i, const Value& s, const Bound&) {
  return i.text(capitalize(i.budget(), s.text()));
}

Value str_title(Interpreter& i, const Value& s, const Bound&) {
  return i.text(title(i.budget(), s.text(), [](char32_t before) { return !is_upper(before) && !is_lower(before); }));
}

Value str_swapcase(Interpreter& i, const Value& s, const Bound&) {
  i.budget().step(s.text().size() * 4);
  Text out;
  for (size_t begin = 0; begin < s.text().size();) {
    size_t end = begin;
    const char32_t c = next_code_point(s.text().bytes(), end);
    const Text letter = s.text().slice(begin, end);
    out.append(is_upper(c) ? lower(i.budget(), letter) : upper(i.budget(), letter));
    begin = end;
  }
  return i.text(std::move(out));
}

Value str_join(Interpreter& interpreter, const Value& s, const Bound& args) {
  Budget& budget = interpreter.budget();
  Text out;
  bool first = true;
  for (const Value& item : iterate(budget, args[0])) {
    if (!item.is_text()) budget.fail("expected strings to join, found '{}'", type_name(item));
    const Text text = s.is_markup() ? escaped(budget, item) : item.text();
    budget.step(text.size() + s.text().size());
    budget.expect_room(out.footprint() + text.footprint() + s.text().footprint());
    if (!std::exchange(first, false)) out.append(s.text());
    out.append(text);
  }
  return interpreter.text(std::move(out));
}

std::string fill_of(Interpreter& interpreter, const Bound& args) {
  const Text fill = args.text(1, " ");
  if (fill.length() != 1) interpreter.budget().fail("expected one character to fill with, found {}", fill.length());
  return fill.bytes();
}

Value str_ljust(Interpreter& i, const Value& s, const Bound& args) {
  return i.text(pad(i.budget(), s.text(), args.integer(0, 0), fill_of(i, args), 0));
}
Value str_rjust(Interpreter& i, const Value& s, const Bound& args) {
  return i.text(pad(i.budget(), s.text(), args.integer(0, 0), fill_of(i, args), 2));
}

Value str_center(Interpreter& i, const Value& s, const Bound& args) {
  const int64_t width = args.integer(0, 0), missing = width - int64_t(s.text().length());
  const std::string fill = fill_of(i, args);
  // Of an odd number of places Python puts the odd one to the right if the width is even.
  const int64_t left = missing / 2 + (missing & width & 1);
  if (missing <= 0) return s;
  return i.text(pad(i.budget(), pad(i.budget(), s.text(), width - missing + left, fill, 2), width, fill, 0));
}

Value str_zfill(Interpreter& i, const Value& s, const Bound& args) {
  const Text& text = s.text();
  const size_t sign = !text.empty() && (text.bytes()[0] == '-' || text.bytes()[0] == '+');
  Text out = text.slice(0, sign);
  out.append(pad(i.budget(), text.slice(sign, text.size()), args.integer(0, 0) - int64_t(sign), "0", 2));
  return i.text(std::move(out));
}

Value str_expandtabs(Interpreter& i, const Value& s, const Bound& args) {
  const int64_t size = args.integer(0, 8);
  Budget& budget = i.budget();
  Text out;
  int64_t column = 0;
  for (const Value& c : iterate(budget, s)) {
    const std::string& bytes = c.text().bytes();
    if (bytes == "\t") {
      const int64_t spaces = size > 0 ? size - column % size : 0;
      budget.step(size_t(spaces));
      budget.expect_room(out.footprint() + size_t(spaces));
      out.append(std::string(size_t(spaces), ' '), c.text().source_at(0));
      column += spaces;
    } else {
      out.append(c.text());
      column = bytes == "\n" || bytes == "\r" ? 0 : column + 1;
    }
  }
  return i.text(std::move(out));
}

// Whether the text has characters and all are so.
bool all_of(Interpreter& interpreter, const Value& s, bool (*is)(char32_t)) {
  interpreter.budget().step(s.text().size());
  size_t at = 0;
  while (at < s.text().size())
    if (!is(next_code_point(s.text().bytes(), at))) return false;
  return at > 0;
}

// Whether the text has letters with case and all of them have this one.
bool cased(Interpreter& interpreter, const Value& s, bool (*is)(char32_t), bool (*other)(char32_t)) {
  interpreter.budget().step(s.text().size());
  bool any = false;
  for (size_t at = 0; at < s.text().size();) {
    const char32_t c = next_code_point(s.text().bytes(), at);
    if (other(c)) return false;
    any = any || is(c);
  }
  return any;
}

bool is_alnum(char32_t c) {
  return is_alpha(c) || is_digit(c);
}
bool is_decimal(char32_t c) {
  return c >= '0' && c <= '9';
}

Value str_isdigit(Interpreter& i, const Value& s, const Bound&) {
  return all_of(i, s, is_digit);
}
Value str_isdecimal(Interpreter& i, const Value& s, const Bound&) {
  return all_of(i, s, is_decimal);
}
Value str_isalpha(Interpreter& i, const Value& s, const Bound&) {
  return all_of(i, s, is_alpha);
}
Value str_isalnum(Interpreter& i, const Value& s, const Bound&) {
  return all_of(i, s, is_alnum);
}
Value str_isspace(Interpreter& i, const Value& s, const Bound&) {
  return all_of(i, s, is_space);
}
Value str_isupper(Interpreter& i, const Value& s, const Bound&) {
  return cased(i, s, is_upper, is_lower);
}
Value str_islower(Interpreter& i, const Value& s, const Bound&) {
  return cased(i, s, is_lower, is_upper);
}
Value str_isascii(Interpreter&, const Value& s, const Bound&) {
  return std::all_of(s.text().bytes().begin(), s.text().bytes().end(), [](char c) { return c >= 0; });
}

Value str_format(Interpreter& i, const Value& s, const Bound& args) {
  return format_braces(i, s, args.all);
}

constexpr Builtin kStringMethods[] = {
    {"capitalize", "", str_capitalize, kKeepsMarkup},
    {"center", "width / fillchar", str_center, kKeepsMarkup},
    {"count", "sub / start end", str_count},
    {"endswith", "suffix / start end", str_endswith},
    {"expandtabs", "/ tabsize", str_expandtabs, kKeepsMarkup},
    {"find", "sub / start end", str_find},
    {"format", "...", str_format, kKeepsMarkup},
    {"index", "sub / start end", str_index},
    {"isalnum", "", str_isalnum},
    {"isalpha", "", str_isalpha},
    {"isascii", "", str_isascii},
    {"isdecimal", "", str_isdecimal},
    {"isdigit", "", str_isdigit},
    {"islower", "", str_islower},
    {"isnumeric", "", str_isdigit},
    {"isspace", "", str_isspace},
    {"isupper", "", str_isupper},
    {"join", "iterable", str_join, kKeepsMarkup},
    {"ljust", "width / fillchar", str_ljust, kKeepsMarkup},
    {"lower", "", str_lower, kKeepsMarkup},
    {"casefold", "", str_lower, kKeepsMarkup},
    {"lstrip", "/ chars", str_lstrip, kKeepsMarkup},
    {"partition", "sep", str_partition, kKeepsMarkup},
    {"removeprefix", "prefix", str_removeprefix, kKeepsMarkup},
    {"removesuffix", "suffix", str_removesuffix, kKeepsMarkup},
    {"replace", "old new / count", str_replace, kKeepsMarkup},
    {"rfind", "sub / start end", str_rfind},
    {"rindex", "sub / start end", str_rindex},
    {"rjust", "width / fillchar", str_rjust, kKeepsMarkup},
    {"rpartition", "sep", str_rpartition, kKeepsMarkup},
    {"rsplit", "/ sep maxsplit", str_rsplit, kKeepsMarkup},
    {"rstrip", "/ chars", str_rstrip, kKeepsMarkup},
    {"split", "/ sep maxsplit", str_split, kKeepsMarkup},
    {"splitlines", "/ keepends", str_splitlines, kKeepsMarkup},
    {"startswith", "prefix / start end", str_startswith},
    {"strip", "/ chars", str_strip, kKeepsMarkup},
    {"swapcase", "", str_swapcase, kKeepsMarkup},
    {"title", "", str_title, kKeepsMarkup},
    {"upper", "", str_upper, kKeepsMarkup},
    {"zfill", "width", str_zfill, kKeepsMarkup},
};

}  // namespace

const Builtin* find_string_method(std::string_view name) {
  return find_in(kStringMethods, name);
}

}  // namespace hearth::jinja
