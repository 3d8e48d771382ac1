// What values a schema allows, kind by kind, in a form that unions, intersections and complements keep: scalars as
// sets, arrays and objects as alternatives of shapes. Keywords that say something of one kind only are its shape's
// parts; a complement turns "all" into "some" and back.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "runtime/grammar/expression.h"
#include "runtime/grammar/number_pool.h"
#include "runtime/grammar/regex.h"

namespace hearth::grammar {

// Names of members: those listed and those that match a pattern; or, `others`, all but them.
struct Names {
  std::vector<std::string> listed = {};
  std::vector<Regex> patterns = {};
  bool others = false;
  auto operator<=>(const Names&) const = default;
};

struct ObjectShape {
  struct Member {
    Names names;
    Expression value;
    auto operator<=>(const Member&) const = default;
  };
  std::vector<Member> all = {};   // every member of such a name has such a value
  std::vector<Member> some = {};  // there is a member of such a name with such a value
  uint32_t least = 0, most = kUnbounded;
  auto operator<=>(const ObjectShape&) const = default;
};

struct ArrayShape {
  struct Count {
    Expression value;
    uint32_t least, most;  // so many items satisfy it
    uint32_t from = 0;     // of those from this one on
    auto operator<=>(const Count&) const = default;
  };
  std::vector<Expression> prefix = {};
  Expression rest = kAlways;
  std::vector<Count> counts = {};
  uint32_t least = 0, most = kUnbounded;
  auto operator<=>(const ArrayShape&) const = default;
};

struct Kinds {
  bool null = false;
  bool booleans[2] = {false, false};  // false, true
  NumberSet numbers = kNoNumber;
  Regex strings = kNothing;
  std::vector<ArrayShape> arrays = {};
  std::vector<ObjectShape> objects = {};

  static Kinds all();
};

// The pools that everything of one grammar shares.
struct Pools {
  RegexPool regexes;
  NumberPool numbers;
  Expressions expressions;
};

// Throw Refusal where shapes become too many.
Kinds both(Pools& pools, const Kinds& a, const Kinds& b);
Kinds either(Pools& pools, const Kinds& a, const Kinds& b);
Kinds complement(Pools& pools, const Kinds& of);

}  // namespace hearth::grammar
