// UTF-8 as it comes from outside: repaired, and handed out in whole characters.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace hearth {

// The first character of a non-empty text. An ill-formed piece is as long as Unicode's "maximal subpart" (Unicode 15,
// section 3.9, table 3-8): what a decoder replaces by one U+FFFD.
struct Utf8Piece {
  enum class Kind { character, ill_formed, unfinished };  // unfinished: ill-formed unless more bytes follow
  Kind kind;
  size_t length;
};
Utf8Piece first_utf8_piece(std::string_view text);

// Ill-formed pieces replaced by U+FFFD, one for each, as Python's bytes.decode(errors="replace") does.
std::string repair_utf8(std::string_view text);

// Joins the bytes of tokens into text for a screen: hands out whole characters only.
class Utf8Stream {
 public:
  std::string push(std::string_view bytes);  // what became complete; ill-formed bytes come out as U+FFFD
  std::string finish();                      // U+FFFD for an unfinished rest

 private:
  std::string pending_;  // at most three bytes
};

}  // namespace hearth
