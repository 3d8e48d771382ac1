// The inside of JSON strings as an automaton over bytes, built while it is used: a state is one of an automaton over
// code points and what was read of the next character.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "runtime/grammar/escaped_char.h"

namespace hearth::grammar {

// `Automaton` has, for states that are uint32_t: next(state, code_point); alive(state), some text may follow;
// alive_within(state, first, last), some text that begins like that; accepts(state), the text may end; and
// same_within(state, {first, last}, to), all these code points lead to the state `to`.
template <class Automaton>
class StringStates {
 public:
  static constexpr int32_t kDead = -1, kClosed = -2;

  explicit StringStates(Automaton& automaton) : automaton_(automaton) {}

  // The state behind the opening quote.
  int32_t start(uint32_t state) { return intern(state, {}); }

  // The state after one byte more; kDead; or kClosed after the closing quote of a text that is accepted.
  int32_t step(int32_t from, uint8_t byte) {
    const size_t at = static_cast<size_t>(from);
    if (!rows_[at]) add_row(at);
    int32_t& to = (*rows_[at])[byte];
    if (to == kUnknown) {
      const int32_t found = compute(states_[at], byte);  // may move rows_, not what they point to
      (*rows_[at])[byte] = found;
      return found;
    }
    return to;
  }

  struct State {
    uint32_t inner;
    EscapedChar partial;
  };
  const State& state(int32_t id) const { return states_[static_cast<size_t>(id)]; }
  size_t size() const { return states_.size(); }

 private:
  using Row = std::array<int32_t, 256>;
  static constexpr int32_t kUnknown = -3;
  static constexpr size_t kMostRows = 8'192;  // 8 MB; more are forgotten and computed again

  void add_row(size_t at) {
    if (++n_rows_ > kMostRows) {
      for (auto& row : rows_) row.reset();
      n_rows_ = 1;
    }
    rows_[at] = std::make_unique<Row>();
    rows_[at]->fill(kUnknown);
  }

  int32_t intern(uint32_t inner, EscapedChar partial) {
    const uint64_t key = uint64_t{inner} << 32 | partial.bits();
    const auto [it, added] = numbers_.try_emplace(key, static_cast<int32_t>(states_.size()));
    if (added) {
      states_.push_back({inner, partial});
      rows_.emplace_back();
    }
    return it->second;
  }

  int32_t compute(State from, uint8_t byte) {
    if (from.partial.between() && byte == '"') return automaton_.accepts(from.inner) ? kClosed : kDead;
    const auto step = from.partial.step(byte);
    if (!step) return kDead;
    if (from.partial.is_forgotten()) return intern(from.inner, step->then);
    // Characters that all lead to the same state are one.
    uint32_t common = 0;
    if (const auto range = step->then.whole_range(); range && automaton_.same_within(from.inner, *range, common))
      return automaton_.alive(common) ? intern(common, step->then.forgotten()) : kDead;
    if (step->finished()) {
      const uint32_t to = automaton_.next(from.inner, step->character);
      return automaton_.alive(to) ? intern(to, {}) : kDead;
    }
    for (const auto& [first, last] : step->then.possible())
      if (automaton_.alive_within(from.inner, first, last)) return intern(from.inner, step->then);
    return kDead;
  }

  Automaton& automaton_;
  std::vector<State> states_;
  std::vector<std::unique_ptr<Row>> rows_;
  std::unordered_map<uint64_t, int32_t> numbers_;
  size_t n_rows_ = 0;
};

}  // namespace hearth::grammar
