// JSON values as text again.
#pragma once

#include <fmt/format.h>

#include <string>

#include "runtime/grammar/json_value.h"

namespace hearth::grammar {

inline std::string json_string(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\')
      out += std::string("\\") + c;
    else if (static_cast<unsigned char>(c) < 0x20)
      out += fmt::format("\\u{:04x}", c);
    else
      out += c;
  }
  return out + "\"";
}

inline std::string json_text(const JsonValue& value) {
  std::string out;
  const char* comma = "";
  switch (value.kind) {
    case JsonValue::Kind::null:
      return "null";
    case JsonValue::Kind::boolean:
      return value.boolean ? "true" : "false";
    case JsonValue::Kind::number:
      return value.text;
    case JsonValue::Kind::string:
      return json_string(value.text);
    case JsonValue::Kind::array:
      for (const JsonValue& item : value.items) out += comma + json_text(item), comma = ", ";
      return "[" + out + "]";
    case JsonValue::Kind::object:
      for (const auto& [name, member] : value.members)
        out += comma + json_string(name) + ": " + json_text(member), comma = ", ";
      return "{" + out + "}";
  }
  return out;
}

}  // namespace hearth::grammar
