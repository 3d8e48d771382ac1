// A schema ready to run: a graph of nodes, one for each different demand on a value, from which everything that no
// value satisfies was taken out. Whoever stays on its edges can always finish.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "runtime/grammar/kinds.h"
#include "runtime/grammar/name_trie.h"
#include "runtime/grammar/string_states.h"

namespace hearth::grammar {

constexpr uint32_t kNoNode = UINT32_MAX;

// What a value may be, by the subset of open demands that it is to meet (bit i: the i-th of the form's); kNoNode: it
// cannot meet those.
using Choices = std::vector<uint32_t>;

struct ArrayForm {
  struct Count {
    uint32_t least, most, from;
  };
  std::vector<Choices> items;  // by position; the last for all that follow
  std::vector<Count> counts;   // demands
  uint32_t least, most;
  std::map<std::vector<uint32_t>, bool> known_to_end = {};  // where there are counts

  uint32_t last_position() const { return static_cast<uint32_t>(items.size()) - 1; }
  const Choices& at(uint32_t index) const { return items[std::min(index, last_position())]; }
};

struct ObjectForm {
  struct Other {
    Regex names;
    Choices values;
  };
  std::vector<std::string> names;  // that the schema knows
  std::unordered_map<std::string, size_t> name_numbers;
  std::unique_ptr<NameStates> name_states;
  std::vector<Choices> values;  // by name; all kNoNode: forbidden
  NameBits allowed, demanded;
  std::vector<Other> others;  // apart from one another; a name that is known is none of them
  Regex any_other = kNothing;
  uint64_t n_others = 0;  // names; kInfinite
  uint32_t n_some = 0;    // demands
  uint32_t least, most;
};

struct JsonNode {
  bool null = false;
  bool booleans[2] = {false, false};
  int32_t numbers = -1;  // first state; -1: no number
  int32_t strings = -1;
  std::vector<uint32_t> arrays, objects;  // forms
};

class JsonProgram {
 public:
  JsonProgram() : strings(pools.regexes) {}
  JsonProgram(const JsonProgram&) = delete;

  Pools pools;
  StringStates<RegexPool> strings;
  std::vector<JsonNode> nodes;
  std::vector<ArrayForm> arrays;
  std::vector<ObjectForm> objects;
  uint32_t root = 0;
  int32_t any_string = -1;  // the state of a string that may be anything
};

// An array of `index` items, `counted` of which met each demand, can be finished.
bool can_finish(ArrayForm& form, uint32_t index, const std::vector<uint32_t>& counted);
// The numbers after one item more, none larger than makes a difference. False: more than there may be.
bool count_item(const ArrayForm& form, uint32_t subset, uint32_t& index, std::vector<uint32_t>& counted);

// Members that an object with these still needs, at least: those demanded and those that meet `pending`. kNoNode: it
// cannot meet them.
uint32_t members_needed(const ObjectForm& form, const NameBits& seen, uint32_t pending);

class SchemaDocument;
// `formats`: whether `format` asserts something. Throws Refusal, also where no value at all satisfies the schema.
std::unique_ptr<JsonProgram> compile_program(const SchemaDocument& document, bool formats);

}  // namespace hearth::grammar
