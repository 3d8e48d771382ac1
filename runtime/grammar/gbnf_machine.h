// A GBNF grammar run over bytes: a set of stacks of where rules go on, kept as one state of an automaton that is built
// while it is used.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "runtime/grammar/escaped_char.h"
#include "runtime/grammar/gbnf_rules.h"

namespace hearth::grammar {

// What follows where a rule, or one turn of a repetition, ends. Immutable and shared.
struct GbnfStack {
  GbnfStack(uint32_t position, uint32_t count, std::shared_ptr<const GbnfStack> parent);
  ~GbnfStack();  // without recursion
  GbnfStack(const GbnfStack&) = delete;
  uint32_t position;  // an item: the next one, or the repetition
  uint32_t count;     // repetition: turns with this one, none beyond what makes a difference
  std::shared_ptr<const GbnfStack> parent;
  uint64_t hash;
};
using GbnfStackPtr = std::shared_ptr<const GbnfStack>;

struct GbnfHeads {
  struct Head {
    uint32_t position;  // of characters
    GbnfStackPtr stack;
  };
  std::vector<Head> heads;  // in the order of their hashes
  bool may_end = false;
  uint64_t hash = 0;
};

// Between or within characters. A value: it outlives the tables of the machine.
struct GbnfPlace {
  std::shared_ptr<const GbnfHeads> heads;
  EscapedChar partial;
};

class GbnfMachine {
 public:
  explicit GbnfMachine(GbnfRules rules) : rules_(std::move(rules)) {}

  GbnfPlace start();
  // A number for the place, good until the next call of this function.
  int32_t number(const GbnfPlace& place);
  int32_t step(int32_t from, uint8_t byte);  // -1: dead
  const GbnfPlace& place(int32_t number) const { return states_[static_cast<size_t>(number)].place; }

 private:
  struct State {
    GbnfPlace place;
    std::unique_ptr<std::array<int32_t, 256>> row;
  };
  class Closure;

  int32_t intern(GbnfPlace place);
  int32_t compute(GbnfPlace from, uint8_t byte);
  std::shared_ptr<const GbnfHeads> after(const GbnfHeads& heads, uint32_t code_point);

  GbnfRules rules_;
  std::vector<State> states_;
  std::unordered_multimap<uint64_t, int32_t> numbers_;
};

bool same(const GbnfStackPtr& a, const GbnfStackPtr& b);
bool same(const GbnfPlace& a, const GbnfPlace& b);

}  // namespace hearth::grammar
