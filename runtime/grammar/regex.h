// Regular languages over code points, closed under all Boolean operations, as hash-consed expressions whose Brzozowski
// derivatives are the states of lazily built automata (Owens, Reppy, Turon: Regular-expression derivatives
// re-examined, 2009). Equal expressions have equal numbers.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "runtime/grammar/code_point_set.h"

namespace hearth::grammar {

using Regex = uint32_t;

constexpr Regex kNothing = 0;    // no text at all
constexpr Regex kEmptyText = 1;  // ""
constexpr Regex kAnyText = 2;
constexpr Regex kEndMark = 3;                // `$`: "", where nothing follows
constexpr uint32_t kUnbounded = UINT32_MAX;  // of repetitions and lengths
constexpr uint64_t kInfinite = UINT64_MAX;   // many texts

class RegexPool {
 public:
  RegexPool();

  Regex characters(CodePointSet set);
  Regex concat(Regex first, Regex then);
  Regex either(std::vector<Regex> parts);
  Regex both(std::vector<Regex> parts);
  Regex complement(Regex of);
  Regex repeat(Regex what, uint32_t least, uint32_t most);
  Regex literal(std::string_view utf8);
  Regex literals(std::vector<std::string> texts);      // one of them
  Regex any_of_length(uint32_t least, uint32_t most);  // in code points

  Regex without_last_end(Regex of);  // the same language: `$` where nothing follows says nothing

  bool accepts(Regex state) const { return nodes_[state].accepts; }                // "" is in the language
  bool accepts_inside(Regex state) const { return nodes_[state].accepts_inside; }  // and by no `$`
  Regex next(Regex state, uint32_t code_point);                                    // the derivative
  bool alive(Regex state);                                                         // some text is in the language
  // Some text is that begins with a code point from `first` to `last`.
  bool alive_within(Regex state, uint32_t first, uint32_t last);
  bool same_within(Regex state, std::pair<uint32_t, uint32_t> range, Regex& to);  // all have the derivative `to`
  bool matches(Regex state, std::string_view utf8);
  uint64_t count(Regex state);  // of texts; kInfinite from a thousand million on, and where counting takes too long
  // Of those that begin with a code point of the ranges.
  uint64_t count_within(Regex state, const std::vector<CodePointSet::Range>& ranges);
  // Of so many code points every text is the beginning of one of the language. A lower bound; kUnbounded: always.
  uint32_t free_run(Regex state);
  // Where the language is that of `what` repeated at most `most` times, up to a number of repetitions that it demands.
  bool is_repeated_characters(Regex state, Regex& what, uint32_t& most) const;

  size_t size() const { return nodes_.size(); }

 private:
  enum class Kind : uint8_t { nothing, empty, characters, end, concat, either, both, complement, repeat };
  struct Node {
    Kind kind;
    bool accepts;          // "" is in the language
    bool accepts_inside;   // and may be followed by more
    bool simple;           // neither complement nor intersection nor `$` within: alive unless kNothing
    uint32_t least, most;  // repeat; characters: `least` is the number of the set
    uint32_t longest;      // upper bound of the length of its texts
    std::vector<Regex> parts;
  };
  struct Row {
    std::vector<uint32_t> from;  // where ranges of code points begin that have the same derivative
    std::vector<Regex> to;
  };
  enum class Life : uint8_t { unknown, alive, dead };

  Regex intern(Node node);
  Regex derive(Regex of, uint32_t code_point);
  const Row& row(Regex state);
  void first_sets(Regex of, std::vector<uint32_t>& sets) const;
  Regex literals_from(const std::vector<std::vector<uint32_t>>& texts, size_t from, size_t to, size_t depth);

  std::vector<Node> nodes_;
  std::vector<Row> rows_;
  std::vector<Life> life_;
  std::vector<CodePointSet> sets_;
  std::map<CodePointSet, uint32_t> set_numbers_;
  std::unordered_multimap<uint64_t, Regex> interned_;
  std::unordered_map<Regex, uint64_t> counts_;
};

}  // namespace hearth::grammar
