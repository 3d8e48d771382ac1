// What a schema or a grammar cannot have, said with the place where it stands.
#pragma once

#include <string>
#include <string_view>

#include "quant/error.h"

namespace hearth::grammar {

// What somebody wrote, as part of one line: without control characters, and cut where it is long.
inline std::string in_one_line(std::string_view text) {
  constexpr size_t kMost = 500;
  std::string line;
  for (const char c : text) {
    const bool begins = (static_cast<unsigned char>(c) & 0xC0) != 0x80;
    if (line.size() >= kMost && begins) return line + "...";
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F)
      line += fmt::format("\\u{:04x}", static_cast<unsigned>(c));
    else
      line += c;
  }
  return line;
}

// Thrown while compiling: the text is not a schema or grammar, or asks for what cannot be honoured.
class Refusal : public Error {
 public:
  // `where`: a JSON pointer (RFC 6901) into the schema, "" its root; for a grammar "line N".
  Refusal(const std::string& where, const std::string& why)
      : Error(ErrorKind::usage, in_one_line(where.empty() ? "the schema" : where) + ": " + in_one_line(why)),
        where(in_one_line(where)),
        why(in_one_line(why)) {}
  std::string where, why;  // each in one line
};

}  // namespace hearth::grammar
