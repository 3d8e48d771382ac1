// Grammars in GBNF, the dialect of BNF that llama.cpp documents (its grammars/README.md), as rules without left
// recursion each of which can be finished.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "runtime/grammar/regex.h"

namespace hearth::grammar {

struct GbnfItem {
  enum class Kind : uint8_t { characters, rule, repeat, end };
  Kind kind = Kind::end;
  uint32_t what = 0;             // characters: number of the set; rule, repeat: number of the rule
  uint32_t least = 0, most = 0;  // repeat; UINT32_MAX: without end
};

struct GbnfRules {
  std::vector<GbnfItem> items;               // of all alternatives, each with an end behind it
  std::vector<std::vector<uint32_t>> rules;  // of each: where its alternatives begin
  std::vector<CodePointSet> sets;
  uint32_t root = 0;
};

// Throws Refusal, its place "line N": what is no grammar, has no rule `root`, names a rule that is not there, recurses
// on the left, can never be finished, or is larger than a megabyte. Not supported: terminals that are tokens (<...>).
GbnfRules parse_gbnf(std::string_view text);

}  // namespace hearth::grammar
