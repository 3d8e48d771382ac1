// A JSON document (RFC 8259) as schemas need it: numbers keep their text, members their order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace hearth::grammar {

struct JsonValue {
  enum class Kind : uint8_t { null, boolean, number, string, array, object };
  Kind kind = Kind::null;
  bool boolean = false;
  std::string text;                                        // string: its characters in UTF-8; number: as written
  std::vector<JsonValue> items;                            // array
  std::vector<std::pair<std::string, JsonValue>> members;  // object

  bool is(Kind other) const { return kind == other; }
  const JsonValue* find(std::string_view name) const;  // a member; nullptr: there is none
};

constexpr size_t kMaxJsonDepth = 256;

// Throws Refusal for what is no JSON, for a name that comes twice in an object, for half a surrogate pair, and for
// arrays and objects inside one another more than kMaxJsonDepth deep.
JsonValue parse_json(std::string_view text);

inline bool is_blank(uint8_t byte) {
  return byte == ' ' || byte == '\n' || byte == '\t' || byte == '\r';
}

// The characters of a JSON string, given what stands between its quotes, which must be well-formed.
std::string unescape_json(std::string_view raw);

// The code point as UTF-8.
void append_utf8(std::string& text, uint32_t code_point);

// The place of the first byte that is no UTF-8; npos: there is none.
size_t first_ill_formed(std::string_view text);

// The code points of well-formed UTF-8.
std::vector<uint32_t> code_points_of(std::string_view utf8);

}  // namespace hearth::grammar
