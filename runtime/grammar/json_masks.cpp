#include "runtime/grammar/json_masks.h"

#include <algorithm>

#include "runtime/grammar/json_value.h"

namespace hearth::grammar {
namespace {

using Phase = JsonState::Phase;
using Strings = StringStates<RegexPool>;

bool is_digit(uint8_t byte) {
  return byte >= '0' && byte <= '9';
}

// False for most bytes that JSON does not have there, so that nothing is copied for them.
bool plausible(Phase phase, uint8_t byte) {
  switch (phase) {
    case Phase::string:
    case Phase::name:
      return byte >= 0x20;
    case Phase::number:
      return is_digit(byte) || byte == '.' || (byte | 32) == 'e' || byte == '+' || byte == '-' || byte == ',' ||
             byte == ']' || byte == '}' || is_blank(byte);
    case Phase::word:
      return byte >= 'a' && byte <= 'z';
    case Phase::value:
    case Phase::array_open:
      return is_digit(byte) || byte == '-' || byte == '"' || byte == '[' || byte == '{' || byte == 't' || byte == 'f' ||
             byte == 'n' || byte == ']' || is_blank(byte);
    default:
      return byte == '"' || byte == ':' || byte == ',' || byte == ']' || byte == '}' || is_blank(byte);
  }
}

void walk_machine(const JsonMachine& machine, const JsonState& state, const TokenTrie::Tree& tree, TokenMask& mask) {
  static thread_local std::vector<JsonState> states;  // their memory serves the next walk
  if (states.size() <= tree.depth) states.resize(tree.depth + 1);
  states[0] = state;
  walk(tree, states, mask, [&](const JsonState& from, uint8_t byte, JsonState& to) {
    if (!plausible(from.phase, byte)) return false;
    to = from;
    return machine.advance(to, byte);
  });
}

// The same where a string is read in one way: nothing but its state changes up to its closing quote.
void walk_quoted(const JsonMachine& machine, const JsonState& state, const TokenTrie::Tree& tree, TokenMask& mask) {
  struct Step {
    int32_t inside = -1;  // state of the string; -1: behind it
    JsonState behind;
  };
  static thread_local std::vector<Step> steps;
  if (steps.size() <= tree.depth) steps.resize(tree.depth + 1);
  steps[0].inside = state.ways[0].a;
  JsonProgram& program = machine.program();
  walk(tree, steps, mask, [&](const Step& from, uint8_t byte, Step& to) {
    if (from.inside < 0) {
      if (!plausible(from.behind.phase, byte)) return false;
      to.inside = -1;
      to.behind = from.behind;
      return machine.advance(to.behind, byte);
    }
    to.inside = program.strings.step(from.inside, byte);
    if (to.inside != Strings::kClosed) return to.inside != Strings::kDead;
    to.inside = -1;
    to.behind = state;
    to.behind.ways[0].a = from.inside;
    return machine.advance(to.behind, byte);
  });
}

// Tokens that stay within the string whose state this is.
void walk_string(JsonProgram& program, int32_t state, const TokenTrie& tokens, TokenMask& mask) {
  std::vector<int32_t> states(tokens.plain().depth + 1);
  states[0] = state;
  walk(tokens.plain(), states, mask, [&](int32_t from, uint8_t byte, int32_t& to) {
    to = program.strings.step(from, byte);
    return to >= 0;
  });
}

const TokenMask& inside_string(JsonProgram& program, int32_t state, const TokenTrie& tokens, PartMasks& parts) {
  const auto known = parts.find(static_cast<uint64_t>(state));
  if (known != parts.end()) return known->second;
  const auto [inner, partial] = program.strings.state(state);
  RegexPool& regexes = program.pools.regexes;
  TokenMask mask(tokens.n_rows());
  Regex what = kNothing;
  uint32_t most = 0;
  if (partial.between() && regexes.free_run(inner) == kUnbounded) {
    mask = tokens.characters(SIZE_MAX);
  } else if (partial.between() && regexes.is_repeated_characters(inner, what, most)) {
    // As many of them as one likes, and of those tokens the ones that are short enough.
    const Regex any = regexes.repeat(what, 0, kUnbounded);
    if (inner == any)
      walk_string(program, state, tokens, mask);
    else
      mask = inside_string(program, program.strings.start(any), tokens, parts);
    if (most != kUnbounded) mask.keep(tokens.characters(most));
  } else {
    walk_string(program, state, tokens, mask);
  }
  return parts[static_cast<uint64_t>(state)] = std::move(mask);
}

}  // namespace

void allow_tokens(const JsonMachine& machine, const JsonState& state, const TokenTrie& tokens, PartMasks& parts,
                  TokenMask& mask) {
  JsonProgram& program = machine.program();
  if (state.phase == Phase::string) {
    for (const auto& way : state.ways) mask.add(inside_string(program, way.a, tokens, parts));
  } else if (state.phase == Phase::name) {
    // Names that are not known are strings, as long as there is no end of them.
    JsonState rest = state;
    std::erase_if(rest.ways, [&](JsonState::Way& way) {
      if (way.b < 0) return false;
      const auto [inner, partial] = program.strings.state(way.b);
      if (!partial.between() || program.pools.regexes.free_run(inner) != kUnbounded) return false;
      mask.add(inside_string(program, way.b, tokens, parts));
      return true;  // known names are among all names
    });
    if (!rest.ways.empty()) walk_machine(machine, rest, tokens.plain(), mask);
  } else {
    walk_machine(machine, state, tokens.plain(), mask);
  }
  if (state.phase == Phase::string && state.ways.size() == 1)
    walk_quoted(machine, state, tokens.quoted(), mask);
  else
    walk_machine(machine, state, tokens.quoted(), mask);
}

}  // namespace hearth::grammar
