#include "runtime/grammar/json_masks.h"

#include <algorithm>
#include <bit>

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

// Names that are not known are strings. Of tokens that leave the choice among infinitely many nothing else is to be
// asked; of others, whether a name is left that is not there already.
void allow_other_names(const JsonMachine& machine, const JsonState& state, size_t way, const TokenTrie& tokens,
                       PartMasks& parts, TokenMask& mask) {
  JsonProgram& program = machine.program();
  const int32_t name = state.ways[way].b;
  const auto [inner, partial] = program.strings.state(name);
  TokenMask some = inside_string(program, name, tokens, parts);
  if (partial.between() && program.pools.regexes.free_run(inner) == kUnbounded) return mask.add(some);
  const uint64_t key = uint64_t{1} << 62 | static_cast<uint64_t>(name);
  auto known = parts.find(key);
  if (known == parts.end()) {
    TokenMask endless(tokens.n_rows());
    std::vector<int32_t> states(tokens.plain().depth + 1);
    states[0] = name;
    walk(tokens.plain(), states, endless, [&](int32_t from, uint8_t byte, int32_t& to) {
      to = program.strings.step(from, byte);
      return to >= 0 && program.pools.regexes.count(program.strings.state(to).inner) == kInfinite;
    });
    known = parts.emplace(key, std::move(endless)).first;
  }
  mask.add(known->second);
  some.remove(known->second);
  JsonState alone = state;
  alone.ways = {state.ways[way]};
  alone.ways[0].a = -1;
  for (size_t w = 0; w < some.words().size(); ++w)
    for (uint64_t bits = some.words()[w]; bits; bits &= bits - 1) {
      const auto token = static_cast<Token>(64 * w + static_cast<size_t>(std::countr_zero(bits)));
      JsonState after = alone;
      const std::string& bytes = tokens.bytes(token);
      if (std::all_of(bytes.begin(), bytes.end(),
                      [&](char c) { return machine.advance(after, static_cast<uint8_t>(c)); }))
        mask.add(token);
    }
}

}  // namespace

void allow_tokens(const JsonMachine& machine, const JsonState& state, const TokenTrie& tokens, PartMasks& parts,
                  TokenMask& mask) {
  JsonProgram& program = machine.program();
  if (state.phase == Phase::string) {
    for (const auto& way : state.ways) mask.add(inside_string(program, way.a, tokens, parts));
  } else if (state.phase == Phase::name) {
    JsonState known = state;
    for (size_t i = 0; i < state.ways.size(); ++i) {
      if (state.ways[i].b >= 0) allow_other_names(machine, state, i, tokens, parts, mask);
      known.ways[i].b = -1;
    }
    std::erase_if(known.ways, [](const JsonState::Way& way) { return way.a < 0; });
    if (!known.ways.empty()) walk_machine(machine, known, tokens.plain(), mask);
  } else {
    walk_machine(machine, state, tokens.plain(), mask);
  }
  if (state.phase == Phase::string && state.ways.size() == 1)
    walk_quoted(machine, state, tokens.quoted(), mask);
  else
    walk_machine(machine, state, tokens.quoted(), mask);
}

}  // namespace hearth::grammar
