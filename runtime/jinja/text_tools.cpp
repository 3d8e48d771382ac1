#include "runtime/jinja/text_tools.h"

#include <algorithm>

#include "runtime/jinja/print.h"

namespace hearth::jinja {

namespace {

// Calls visit(code point, begin, end) for every character.
template <class Visit>
void each_code_point(Budget& budget, const Text& text, Visit visit) {
  budget.step(text.size() * 4);
  for (size_t begin = 0; begin < text.size();) {
    size_t end = begin;
    const char32_t c = next_code_point(text.bytes(), end);
    visit(c, begin, end);
    begin = end;
  }
}

void append_character(Text& out, char32_t c, int source) {
  std::string bytes;
  append_code_point(bytes, c);
  out.append(bytes, source);
}

void append_upper(Text& out, char32_t c, int source) {
  if (c == 0xDF) return out.append("SS", source);  // the one that people meet of those that become several
  append_character(out, to_upper(c), source);
}

}  // namespace

Text strip(Budget& budget, const Text& text, const std::optional<Text>& chars, Side side) {
  std::u32string set;
  if (chars) each_code_point(budget, *chars, [&](char32_t c, size_t, size_t) { set += c; });
  budget.step(text.size() * (1 + set.size() / 4));
  const auto goes = [&](char32_t c) { return chars ? set.find(c) != set.npos : is_space(c); };
  size_t begin = 0;
  while (side != Side::right && begin < text.size()) {
    size_t next = begin;
    if (!goes(next_code_point(text.bytes(), next))) break;
    begin = next;
  }
  if (side == Side::left) return text.slice(begin, text.size());
  size_t end = begin;  // after the last that stays
  for (size_t at = begin; at < text.size();)
    if (!goes(next_code_point(text.bytes(), at))) end = at;
  return text.slice(begin, end);
}

namespace {

int64_t unlimited_below_zero(int64_t limit) {
  return limit < 0 ? INT64_MAX : limit;
}

using Parts = std::vector<std::pair<size_t, size_t>>;  // begin and end of each

Parts cut(std::string_view bytes, std::string_view separator, int64_t limit) {
  Parts parts;
  size_t begin = 0;
  for (limit = unlimited_below_zero(limit); limit != 0; --limit) {
    const size_t at = find_bytes(bytes, separator, begin);
    if (at == std::string_view::npos) break;
    parts.emplace_back(begin, at);
    begin = at + separator.size();
  }
  parts.emplace_back(begin, bytes.size());
  return parts;
}

}  // namespace

std::vector<Text> split(Budget& budget, const Text& text, std::string_view separator, int64_t limit, bool from_right) {
  if (separator.empty()) budget.fail("expected a separator to split at, found an empty one");
  budget.step(text.size() * 2);
  const std::string& bytes = text.bytes();
  Parts parts;
  if (from_right) {  // searched backwards, and turned round again
    const std::string backwards(bytes.rbegin(), bytes.rend()), other(separator.rbegin(), separator.rend());
    for (const auto& [begin, end] : cut(backwards, other, limit))
      parts.emplace_back(bytes.size() - end, bytes.size() - begin);
    std::reverse(parts.begin(), parts.end());
  } else {
    parts = cut(bytes, separator, limit);
  }
  budget.expect_room(parts.size() * (sizeof(Text) + sizeof(parts[0])));
  budget.step(parts.size() * sizeof(Text));
  std::vector<Text> out;
  for (const auto& [begin, end] : parts) out.push_back(text.slice(begin, end));
  return out;
}

std::vector<Text> split_at_space(Budget& budget, const Text& text, int64_t limit, bool from_right) {
  std::vector<std::pair<size_t, size_t>> words;
  bool inside = false;
  each_code_point(budget, text, [&](char32_t c, size_t begin, size_t end) {
    if (is_space(c)) {
      inside = false;
    } else if (inside) {
      words.back().second = end;
    } else {
      words.emplace_back(begin, end);
      inside = true;
    }
  });
  budget.expect_room(words.size() * (sizeof(Text) + sizeof(words[0])));
  budget.step(words.size() * sizeof(Text));
  const size_t whole = limit < 0 ? words.size() : std::min(words.size(), size_t(limit));  // the others stay together
  std::vector<Text> out;
  if (from_right && whole < words.size()) out.push_back(text.slice(0, words[words.size() - whole - 1].second));
  for (size_t i = from_right ? words.size() - whole : 0; i < (from_right ? words.size() : whole); ++i)
    out.push_back(text.slice(words[i].first, words[i].second));
  if (!from_right && whole < words.size()) out.push_back(text.slice(words[whole].first, text.size()));
  return out;
}

std::vector<Text> split_lines(Budget& budget, const Text& text, bool keep_ends) {
  std::vector<Text> lines;
  size_t line = 0;
  bool after_return = false;
  each_code_point(budget, text, [&](char32_t c, size_t begin, size_t end) {
    const bool ends = (c >= 10 && c <= 13) || (c >= 28 && c <= 30) || c == 0x85 || c == 0x2028 || c == 0x2029;
    if (c == '\n' && after_return) {  // of one line end
      if (keep_ends) lines.back().append(text, begin, end);
      line = end;
    } else if (ends) {
      budget.expect_room((lines.size() + 1) * sizeof(Text) + text.size());
      lines.push_back(text.slice(line, keep_ends ? end : begin));
      line = end;
    }
    after_return = c == '\r';
  });
  if (line < text.size()) lines.push_back(text.slice(line, text.size()));
  return lines;
}

Text replace(Budget& budget, const Text& text, std::string_view old, const Text& by, int64_t limit) {
  budget.step(text.size() * 2);
  const std::string& bytes = text.bytes();
  Text out;
  const auto put = [&] {
    budget.step(by.size());
    budget.expect_room(out.footprint() + by.footprint() + text.size());
    out.append(by);
  };
  size_t begin = 0;
  limit = unlimited_below_zero(limit);
  if (old.empty()) {  // before every character and at the end
    for (; limit != 0 && begin <= text.size(); --limit) {
      put();
      if (begin == text.size()) return out;
      size_t end = begin;
      next_code_point(bytes, end);
      out.append(text, begin, end);
      begin = end;
    }
  } else {
    for (; limit != 0; --limit) {
      const size_t at = find_bytes(bytes, old, begin);
      if (at == std::string::npos) break;
      out.append(text, begin, at);
      put();
      begin = at + old.size();
    }
  }
  out.append(text, begin, text.size());
  return out;
}

Text upper(Budget& budget, const Text& text) {
  Text out;
  each_code_point(budget, text, [&](char32_t c, size_t begin, size_t) { append_upper(out, c, text.source_at(begin)); });
  return out;
}

Text lower(Budget& budget, const Text& text) {
  Text out;
  each_code_point(budget, text,
                  [&](char32_t c, size_t begin, size_t) { append_character(out, to_lower(c), text.source_at(begin)); });
  return out;
}

Text capitalize(Budget& budget, const Text& text) {
  return title(budget, text, [](char32_t) { return false; });
}

Text title(Budget& budget, const Text& text, bool (*starts_word)(char32_t before)) {
  Text out;
  bool starts = true;
  each_code_point(budget, text, [&](char32_t c, size_t begin, size_t) {
    const int source = text.source_at(begin);
    if (starts) {
      append_upper(out, c, source);
    } else {
      append_character(out, to_lower(c), source);
    }
    starts = starts_word(c);
  });
  return out;
}

Text escape(Budget& budget, const Text& text) {
  Text out;
  each_code_point(budget, text, [&](char32_t c, size_t begin, size_t end) {
    const char* entity = c == '&'    ? "&amp;"
                         : c == '<'  ? "&lt;"
                         : c == '>'  ? "&gt;"
                         : c == '\'' ? "&#39;"
                         : c == '"'  ? "&#34;"
                                     : nullptr;
    if (entity == nullptr) {
      out.append(text, begin, end);
    } else {
      out.append(entity, text.source_at(begin));
    }
  });
  return out;
}

Text escaped(Budget& budget, const Value& value) {
  return value.is_markup() ? value.text() : escape(budget, to_text(budget, value));
}

Text pad(Budget& budget, const Text& text, int64_t width, std::string_view fill, int64_t left_share_of_two) {
  budget.step(text.size());
  const int64_t missing = std::max<int64_t>(width, 0) - int64_t(text.length());
  if (missing <= 0) return text;
  budget.expect_room(size_t(missing));
  budget.expect_room(size_t(missing) * fill.size() + text.size());
  budget.step(size_t(missing) * fill.size());
  const int64_t left = missing * left_share_of_two / 2;
  Text out;
  for (int64_t i = 0; i < left; ++i) out.append(fill, 0);
  out.append(text);
  for (int64_t i = left; i < missing; ++i) out.append(fill, 0);
  return out;
}

}  // namespace hearth::jinja
