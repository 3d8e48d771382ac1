// Words of a chat's command lines.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace hearth::cli {

// "1,234,567"
std::string grouped(int64_t number);

struct SplitLine {
  std::string word, rest;  // rest: without blanks at either end
};
SplitLine split_first_word(std::string_view line);

// A path as it is typed: blanks belong to it, ~/ is $HOME, and quotes around the whole of it are none of it.
std::string typed_path(std::string_view typed);

// The one of `known` that somebody may have meant by `word`: the only one that begins so, or the one that is nearest to
// it, with no more than one wrong, missing, superfluous or exchanged letter, or two in long words. "": none.
std::string_view nearest_word(std::string_view word, std::span<const std::string_view> known);

// The inside of the last block of code between lines of ``` or ~~~ (CommonMark 0.31, 4.5), without the end of its last
// line; one that is not closed goes to the end of the text. "": none.
std::string last_code_block(std::string_view markdown);

}  // namespace hearth::cli
