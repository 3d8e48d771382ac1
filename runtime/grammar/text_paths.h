// Texts put together from parts: an answer is one of several paths, such as "free text up to </think>, then a document
// of this schema" or "a call of one of these tools, and perhaps more of them".
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/grammar/grammar.h"

namespace hearth::grammar {

// Bytes that stand for the control token of this text, which no ordinary token has: 0xFF is no part of UTF-8. A
// vocabulary's trie has them (token_trie_of), and only parts that name the token let it come.
std::string control_mark(std::string_view token_text);

struct TextPart {
  enum class Kind {
    text,     // exactly `text`
    free,     // anything up to and with the first `text`; where that is empty, anything to the end
    grammar,  // a text of `grammar`
  };
  Kind kind = Kind::text;
  std::string text = {};
  bool may_end = false;  // free: the answer may end before `text` comes, too
  std::shared_ptr<const Grammar> grammar = {};
};

struct TextPath {
  std::vector<TextPart> parts;
  int again = -1;  // behind the last part the path may also go on with this one; -1: it ends
};

// Any of the paths. Throws Refusal where one goes on for ever without a byte, or there is none.
std::shared_ptr<const Grammar> compile_paths(std::vector<TextPath> paths);

}  // namespace hearth::grammar
