// The regular expressions of JSON Schema: those of ECMA-262 (2022, section 22.2) with the flag `u`, as languages of
// whole texts in which the pattern is found somewhere.
#pragma once

#include <string_view>

#include "runtime/grammar/code_point_set.h"
#include "runtime/grammar/regex.h"

namespace hearth::grammar {

// Throws Refusal, its place empty, for what is no pattern, for what a regular language cannot say (back references)
// and for what is not supported: look-around, \b, \B, and properties other than general categories.
Regex parse_pattern(RegexPool& pool, std::string_view pattern);

// \p{name}: a general category by its short or long name (L, Letter, Lu, ...), Any, ASCII or Assigned. As the
// installed PCRE2 knows it. An empty set: no such name.
CodePointSet unicode_property(std::string_view name);

}  // namespace hearth::grammar
