// A GBNF grammar behind the interface of all grammars.
#include "runtime/grammar/gbnf_machine.h"
#include "runtime/grammar/grammar.h"
#include "runtime/grammar/token_masks.h"

namespace hearth::grammar {
namespace {

class GbnfState final : public GrammarState {
 public:
  explicit GbnfState(GbnfMachine& machine) : machine_(machine), place_(machine.start()) {}
  std::unique_ptr<GrammarState> clone() const override { return std::make_unique<GbnfState>(*this); }

  bool advance(uint8_t byte) override {
    const int32_t to = dead() ? -1 : machine_.step(machine_.number(place_), byte);
    if (to < 0)
      place_ = {};
    else
      place_ = GbnfPlace(machine_.place(to));
    return to >= 0;
  }
  bool may_end() const override { return place_.heads && place_.heads->may_end && place_.partial.between(); }
  bool dead() const override { return !place_.heads; }
  uint64_t hash() const override { return dead() ? 0 : place_.heads->hash ^ place_.partial.bits(); }
  bool same(const GrammarState& other) const override {
    const GbnfPlace& place = static_cast<const GbnfState&>(other).place_;
    return place_.heads && place.heads ? grammar::same(place_, place) : place_.heads == place.heads;
  }

  bool ends_behind_quote() const override { return false; }
  void allow_tokens(const TokenTrie& tokens, PartMasks&, TokenMask& mask) const override {
    if (dead()) return;
    const int32_t from = machine_.number(place_);
    for (const TokenTrie::Tree* tree : {&tokens.plain(), &tokens.quoted()}) {
      std::vector<int32_t> states(tree->depth + 1);
      states[0] = from;
      walk(*tree, states, mask,
           [&](int32_t at, uint8_t byte, int32_t& to) { return (to = machine_.step(at, byte)) >= 0; });
    }
  }

 private:
  GbnfMachine& machine_;
  GbnfPlace place_;
};

class GbnfGrammar final : public Grammar {
 public:
  explicit GbnfGrammar(GbnfRules rules) : machine_(std::move(rules)) {}
  std::unique_ptr<GrammarState> start() const override { return std::make_unique<GbnfState>(machine_); }

 private:
  mutable GbnfMachine machine_;  // remembers what it found
};

}  // namespace

std::shared_ptr<const Grammar> compile_gbnf(std::string_view text) {
  return std::make_shared<GbnfGrammar>(parse_gbnf(text));
}

}  // namespace hearth::grammar
