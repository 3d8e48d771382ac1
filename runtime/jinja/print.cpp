#include "runtime/jinja/print.h"

#include <algorithm>
#include <charconv>
#include <cmath>

namespace hearth::jinja {

std::string float_text(double d) {
  if (std::isnan(d)) return "nan";
  if (std::isinf(d)) return d < 0 ? "-inf" : "inf";
  char buffer[40];
  const std::string text(buffer, std::to_chars(buffer, buffer + sizeof buffer, d, std::chars_format::scientific).ptr);
  const int exponent = std::stoi(text.substr(text.find('e') + 1));
  if (d != 0 && (exponent < -4 || exponent >= 16)) return text;
  std::string out(buffer, std::to_chars(buffer, buffer + sizeof buffer, d, std::chars_format::fixed).ptr);
  if (out.find('.') == std::string::npos) out += ".0";
  return out;
}

namespace {

void append_hex_escape(Text& out, char32_t c, int source) {
  if (c >= 0xDC80 && c <= 0xDCFF) {
    out.append(fmt::format("\\udc{:02x}", unsigned(c & 0xFF)), source);
  } else if (c < 0x100) {
    out.append(fmt::format("\\x{:02x}", unsigned(c)), source);
  } else if (c < 0x10000) {
    out.append(fmt::format("\\u{:04x}", unsigned(c)), source);
  } else {
    out.append(fmt::format("\\U{:08x}", unsigned(c)), source);
  }
}

// Calls escape(code point, bytes, source) for every character.
template <class Escape>
void each_character(Budget& budget, const Text& text, Escape escape) {
  budget.step(text.size() * 4);
  budget.expect_room(text.size());
  text.each_run([&](std::string_view bytes, int source) {
    for (size_t begin = 0; begin < bytes.size();) {
      size_t end = begin;
      const char32_t c = next_code_point(bytes, end);
      escape(c, bytes.substr(begin, end - begin), source);
      begin = end;
    }
  });
}

void append_text_repr(Budget& budget, Text& out, const Text& text) {
  const bool single = text.bytes().find('\'') != std::string::npos;
  const bool twice = text.bytes().find('"') != std::string::npos;
  const char quote = single && !twice ? '"' : '\'';
  const std::string quoted(1, quote);
  out.append(quoted, text.source_at(0));
  each_character(budget, text, [&](char32_t c, std::string_view bytes, int source) {
    if (c == '\n') {
      out.append("\\n", source);
    } else if (c == '\t') {
      out.append("\\t", source);
    } else if (c == '\r') {
      out.append("\\r", source);
    } else if (c == '\\' || c == char32_t(quote)) {
      out.append("\\", source);
      out.append(bytes, source);
    } else if (is_printable(c)) {
      out.append(bytes, source);
    } else {
      append_hex_escape(out, c, source);
    }
  });
  out.append(quoted, text.source_at(text.size()));
}

std::string_view opening(List::Kind kind) {
  switch (kind) {
    case List::Kind::list:
      return "[";
    case List::Kind::tuple:
    case List::Kind::group:
      return "(";
    case List::Kind::keys:
      return "dict_keys([";
    case List::Kind::values:
      return "dict_values([";
    case List::Kind::items:
      return "dict_items([";
    case List::Kind::generator:
      break;
  }
  return "";
}

void append_list_repr(Budget& budget, Text& out, const List& list) {
  if (list.kind == List::Kind::generator) return out.append("<generator object>", 0);
  out.append(opening(list.kind), 0);
  for (size_t i = 0; i < list.items.size(); ++i) {
    if (i > 0) out.append(", ", 0);
    append_repr(budget, out, list.items[i]);
  }
  if (list.kind == List::Kind::tuple || list.kind == List::Kind::group) {
    out.append(list.items.size() == 1 ? ",)" : ")", 0);
  } else {
    out.append(list.kind == List::Kind::list ? "]" : "])", 0);
  }
}

void append_dict_repr(Budget& budget, Text& out, const Dict& dict) {
  out.append("{", 0);
  for (size_t i = 0; i < dict.entries.size(); ++i) {
    if (i > 0) out.append(", ", 0);
    append_repr(budget, out, dict.entries[i].first);
    out.append(": ", 0);
    append_repr(budget, out, dict.entries[i].second);
  }
  out.append("}", 0);
}

std::string range_repr(const Range& range) {
  if (range.step == 1) return fmt::format("range({}, {})", range.start, range.stop);
  return fmt::format("range({}, {}, {})", range.start, range.stop, range.step);
}

std::string number_text(const Value& value) {
  if (value.is_bool()) return value.as_bool() ? "True" : "False";
  return value.is_float() ? float_text(value.number()) : std::to_string(value.integer());
}

}  // namespace

void append_repr(Budget& budget, Text& out, const Value& value) {
  budget.step();
  budget.expect_room(out.footprint());
  if (value.is_text()) {
    if (value.is_markup()) out.append("Markup(", 0);
    append_text_repr(budget, out, value.text());
    if (value.is_markup()) out.append(")", 0);
  } else if (value.is_number()) {
    out.append(number_text(value), value.source());
  } else if (value.list() != nullptr) {
    append_list_repr(budget, out, *value.list());
  } else if (value.dict() != nullptr) {
    append_dict_repr(budget, out, *value.dict());
  } else if (value.is_undefined()) {
    out.append("Undefined", 0);
  } else if (value.range() != nullptr) {
    out.append(range_repr(*value.range()), 0);
  } else {
    out.append(value.is_none() ? "None" : "<" + value.object()->type() + ">", 0);
  }
}

Text to_text(Budget& budget, const Value& value) {
  if (value.is_text()) {
    budget.step(value.text().size());
    return value.text();
  }
  Text out;
  if (!value.is_undefined()) append_repr(budget, out, value);
  return out;
}

// --- JSON.

namespace {

class JsonWriter {
 public:
  JsonWriter(Budget& budget, const JsonStyle& style) : budget_(budget), style_(style) {}

  void write(const Value& value) {
    budget_.step();
    budget_.expect_room(out_.footprint());
    if (value.is_text()) {
      string(value.text());
    } else if (value.is_number() || value.is_none()) {
      out_.append(scalar(value), value.source());
    } else if (value.dict() != nullptr) {
      dict(*value.dict());
    } else if (value.list() != nullptr && value.list()->is_plain()) {
      list(*value.list());
    } else {
      budget_.fail("expected a value that JSON has for tojson, found '{}'", type_name(value));
    }
  }

  Text take() { return std::move(out_); }

 private:
  static std::string scalar(const Value& value) {
    if (value.is_none()) return "null";
    if (value.is_bool()) return value.as_bool() ? "true" : "false";
    if (!value.is_float()) return std::to_string(value.integer());
    if (std::isnan(value.number())) return "NaN";
    if (std::isinf(value.number())) return value.number() < 0 ? "-Infinity" : "Infinity";
    return float_text(value.number());
  }

  void string(const Text& text) {
    out_.append("\"", text.source_at(0));
    each_character(budget_, text, [&](char32_t c, std::string_view bytes, int source) { character(c, bytes, source); });
    out_.append("\"", text.source_at(text.size()));
  }

  void character(char32_t c, std::string_view bytes, int source) {
    constexpr std::string_view kEscaped = "\"\\\n\r\t\f\b";
    constexpr std::string_view kLetters = "\"\\nrtfb";
    const size_t escape = c < 128 ? kEscaped.find(char(c)) : std::string_view::npos;
    if (escape != std::string_view::npos) {
      out_.append(std::string{'\\', kLetters[escape]}, source);
    } else if (c < 32 || (style_.ascii && c > 126 && c < 0x10000)) {
      out_.append(fmt::format("\\u{:04x}", unsigned(c)), source);
    } else if (style_.ascii && c >= 0x10000) {
      const unsigned rest = unsigned(c) - 0x10000;
      out_.append(fmt::format("\\u{:04x}\\u{:04x}", 0xD800 + (rest >> 10), 0xDC00 + (rest & 0x3FF)), source);
    } else {
      out_.append(bytes, source);
    }
  }

  void new_line(int level) {
    if (!style_.pretty) return;
    budget_.step(style_.indent.size() * size_t(level));
    budget_.expect_room(style_.indent.size() * size_t(level));
    out_.append("\n", 0);
    for (int i = 0; i < level; ++i) out_.append(style_.indent);
  }

  void list(const List& list) {
    out_.append("[", 0);
    ++level_;
    for (size_t i = 0; i < list.items.size(); ++i) {
      if (i > 0) out_.append(style_.item_separator, 0);
      new_line(level_);
      write(list.items[i]);
    }
    --level_;
    if (!list.items.empty()) new_line(level_);
    out_.append("]", 0);
  }

  void dict(const Dict& dict) {
    std::vector<const std::pair<Value, Value>*> entries;
    for (const auto& entry : dict.entries) entries.push_back(&entry);
    if (style_.sort_keys) {
      std::stable_sort(entries.begin(), entries.end(),
                       [&](const auto* a, const auto* b) { return compare(budget_, a->first, b->first) < 0; });
    }
    out_.append("{", 0);
    ++level_;
    for (size_t i = 0; i < entries.size(); ++i) {
      if (i > 0) out_.append(style_.item_separator, 0);
      new_line(level_);
      key(entries[i]->first);
      out_.append(style_.key_separator, 0);
      write(entries[i]->second);
    }
    --level_;
    if (!entries.empty()) new_line(level_);
    out_.append("}", 0);
  }

  void key(const Value& key) {
    if (key.is_text()) return string(key.text());
    if (!key.is_number() && !key.is_none())
      budget_.fail("expected keys that JSON has for tojson, found '{}'", type_name(key));
    out_.append("\"" + scalar(key) + "\"", key.source());
  }

  Budget& budget_;
  const JsonStyle& style_;
  Text out_;
  int level_ = 0;
};

}  // namespace

Text to_json(Budget& budget, const Value& value, const JsonStyle& style) {
  JsonWriter writer(budget, style);
  writer.write(value);
  return writer.take();
}

}  // namespace hearth::jinja
