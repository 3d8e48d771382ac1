// What methods and filters do with strings; every character keeps its source.
#pragma once

#include <functional>
#include <optional>
#include <string_view>
#include <vector>

#include "runtime/jinja/value.h"

namespace hearth::jinja {

enum class Side { left, right, both };

// Without the characters of `chars` at its ends; nullopt: without white space.
Text strip(Budget&, const Text&, const std::optional<Text>& chars, Side side);
// At every `separator`, at most `limit` times (below 0: no limit), counted from the right with from_right.
std::vector<Text> split(Budget&, const Text&, std::string_view separator, int64_t limit, bool from_right);
// At runs of white space.
std::vector<Text> split_at_space(Budget&, const Text&, int64_t limit, bool from_right);
std::vector<Text> split_lines(Budget&, const Text&, bool keep_ends);
// At most `limit` times; below 0: everywhere.
Text replace(Budget&, const Text&, std::string_view old, const Text& by, int64_t limit);
Text upper(Budget&, const Text&);
Text lower(Budget&, const Text&);
Text capitalize(Budget&, const Text&);
// Every letter after something for which starts_word holds is a capital, as is the first; the others are small.
Text title(Budget&, const Text&, bool (*starts_word)(char32_t before));
// With entities for & < > ' ".
Text escape(Budget&, const Text&);
// The text of a value; escaped, unless it is markup.
Text escaped(Budget&, const Value&);
// To `width` characters.
Text pad(Budget&, const Text&, int64_t width, std::string_view fill, int64_t left_share_of_two);

}  // namespace hearth::jinja
