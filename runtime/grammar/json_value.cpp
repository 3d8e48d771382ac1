#include "runtime/grammar/json_value.h"

#include <unordered_set>

#include "runtime/grammar/refusal.h"

namespace hearth::grammar {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

class JsonParser {
 public:
  explicit JsonParser(std::string_view text) : text_(text) {}

  JsonValue document() {
    JsonValue value = parse_value(0);
    skip_blank();
    if (at_ < text_.size()) wrong("the end");
    return value;
  }

 private:
  [[noreturn]] void wrong(std::string_view expected) const {
    const std::string found =
        at_ < text_.size() ? fmt::format("byte 0x{:02x}", static_cast<uint8_t>(text_[at_])) : "the end of the text";
    throw Refusal("", fmt::format("no JSON: expected {} at byte {}, found {}", expected, at_, found));
  }

  void skip_blank() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\r' || text_[at_] == '\t'))
      ++at_;
  }
  char next() const { return at_ < text_.size() ? text_[at_] : '\0'; }
  bool take(char c) {
    if (next() != c || at_ >= text_.size()) return false;
    ++at_;
    return true;
  }

  JsonValue parse_value(size_t depth) {
    skip_blank();
    JsonValue value;
    switch (next()) {
      case '{':
      case '[':
        if (depth >= kMaxJsonDepth)
          throw Refusal("", fmt::format("arrays and objects lie inside one another more than {} deep", kMaxJsonDepth));
        return next() == '{' ? parse_object(depth) : parse_array(depth);
      case '"':
        value.kind = JsonValue::Kind::string;
        value.text = parse_string();
        return value;
      case 't':
      case 'f':
      case 'n':
        return parse_word();
      default:
        value.kind = JsonValue::Kind::number;
        value.text = parse_number();
        return value;
    }
  }

  JsonValue parse_word() {
    JsonValue value;
    const char first = next();
    const std::string_view word = first == 't' ? "true" : first == 'f' ? "false" : "null";
    if (text_.substr(at_, word.size()) != word) wrong(word);
    at_ += word.size();
    value.kind = first == 'n' ? JsonValue::Kind::null : JsonValue::Kind::boolean;
    value.boolean = first == 't';
    return value;
  }

  std::string parse_number() {
    const size_t from = at_;
    const auto digits = [&] {
      if (next() < '0' || next() > '9') wrong(at_ == from ? "a value" : "a digit");
      while (next() >= '0' && next() <= '9') ++at_;
    };
    take('-');
    if (!take('0')) digits();
    if (take('.')) digits();
    if (next() == 'e' || next() == 'E') {
      ++at_;
      if (!take('+')) take('-');
      digits();
    }
    return std::string(text_.substr(from, at_ - from));
  }

  uint32_t parse_hex() {
    uint32_t value = 0;
    for (int i = 0; i < 4; ++i, ++at_) {
      const int digit = hex_digit(next());
      if (digit < 0) wrong("a hexadecimal digit");
      value = value * 16 + static_cast<uint32_t>(digit);
    }
    return value;
  }

  std::string parse_string() {
    std::string out;
    ++at_;
    for (;;) {
      if (at_ >= text_.size() || static_cast<uint8_t>(next()) < 0x20)
        wrong("a character of a string or its closing quote");
      const char c = text_[at_++];
      if (c == '"') return out;
      if (c != '\\') {
        out += c;
        continue;
      }
      static constexpr std::string_view kLetters = "\"\\/bfnrt", kMeant = "\"\\/\b\f\n\r\t";
      const size_t simple = kLetters.find(next());
      if (at_ < text_.size() && simple != kLetters.npos) {
        out += kMeant[simple];
        ++at_;
      } else if (take('u')) {
        uint32_t code_point = parse_hex();
        if (code_point >= 0xD800 && code_point < 0xDC00) {
          if (!take('\\') || !take('u')) wrong("the second half of a surrogate pair");
          const uint32_t low = parse_hex();
          if (low < 0xDC00 || low > 0xDFFF) wrong("the second half of a surrogate pair before");
          code_point = 0x10000 + ((code_point - 0xD800) << 10) + (low - 0xDC00);
        } else if (code_point >= 0xDC00 && code_point < 0xE000) {
          wrong("the first half of a surrogate pair before");
        }
        append_utf8(out, code_point);
      } else {
        wrong("an escape");
      }
    }
  }

  JsonValue parse_array(size_t depth) {
    JsonValue value;
    value.kind = JsonValue::Kind::array;
    ++at_;
    skip_blank();
    if (take(']')) return value;
    do {
      value.items.push_back(parse_value(depth + 1));
      skip_blank();
    } while (take(','));
    if (!take(']')) wrong("',' or ']'");
    return value;
  }

  JsonValue parse_object(size_t depth) {
    JsonValue value;
    value.kind = JsonValue::Kind::object;
    ++at_;
    skip_blank();
    if (take('}')) return value;
    std::unordered_set<std::string> names;
    do {
      skip_blank();
      if (next() != '"') wrong("a name");
      std::string name = parse_string();
      if (!names.insert(name).second) throw Refusal("", fmt::format("an object has the name \"{}\" twice", name));
      skip_blank();
      if (!take(':')) wrong("':'");
      value.members.emplace_back(std::move(name), parse_value(depth + 1));
      skip_blank();
    } while (take(','));
    if (!take('}')) wrong("',' or '}'");
    return value;
  }

  std::string_view text_;
  size_t at_ = 0;
};

}  // namespace

size_t first_ill_formed(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto lead = static_cast<uint8_t>(text[i]);
    const size_t length = lead < 0x80                   ? 1
                          : lead >= 0xC2 && lead < 0xE0 ? 2
                          : lead >= 0xE0 && lead < 0xF0 ? 3
                          : lead >= 0xF0 && lead < 0xF5 ? 4
                                                        : 0;
    if (length == 0 || i + length > text.size()) return i;
    uint32_t code_point = length == 1 ? lead : lead & (0x7Fu >> length);
    for (size_t k = 1; k < length; ++k) {
      const auto byte = static_cast<uint8_t>(text[i + k]);
      if ((byte & 0xC0) != 0x80) return i;
      code_point = code_point << 6 | (byte & 0x3F);
    }
    constexpr uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
    if (code_point < kLeast[length] || code_point > 0x10FFFF || (code_point >= 0xD800 && code_point < 0xE000)) return i;
    i += length;
  }
  return std::string_view::npos;
}

const JsonValue* JsonValue::find(std::string_view name) const {
  for (const auto& [own, value] : members)
    if (own == name) return &value;
  return nullptr;
}

JsonValue parse_json(std::string_view text) {
  const size_t bad = first_ill_formed(text);
  if (bad != text.npos) throw Refusal("", fmt::format("no JSON: byte {} is not UTF-8", bad));
  return JsonParser(text).document();
}

void append_utf8(std::string& text, uint32_t c) {
  if (c < 0x80) {
    text += static_cast<char>(c);
  } else if (c < 0x800) {
    text += static_cast<char>(0xC0 | c >> 6);
    text += static_cast<char>(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    text += static_cast<char>(0xE0 | c >> 12);
    text += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    text += static_cast<char>(0x80 | (c & 0x3F));
  } else {
    text += static_cast<char>(0xF0 | c >> 18);
    text += static_cast<char>(0x80 | (c >> 12 & 0x3F));
    text += static_cast<char>(0x80 | (c >> 6 & 0x3F));
    text += static_cast<char>(0x80 | (c & 0x3F));
  }
}

std::vector<uint32_t> code_points_of(std::string_view utf8) {
  std::vector<uint32_t> out;
  for (size_t i = 0; i < utf8.size();) {
    const auto lead = static_cast<uint8_t>(utf8[i]);
    const size_t length = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    uint32_t code_point = length == 1 ? lead : lead & (0x7Fu >> length);
    for (size_t k = 1; k < length && i + k < utf8.size(); ++k)
      code_point = code_point << 6 | (static_cast<uint8_t>(utf8[i + k]) & 0x3F);
    out.push_back(code_point);
    i += length;
  }
  return out;
}

std::string unescape_json(std::string_view raw) {
  if (raw.find('\\') == raw.npos) return std::string(raw);
  return parse_json("\"" + std::string(raw) + "\"").text;
}

}  // namespace hearth::grammar
