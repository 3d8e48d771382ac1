// A schema behind the interface of all grammars.
#include "runtime/grammar/grammar.h"
#include "runtime/grammar/json_machine.h"
#include "runtime/grammar/json_masks.h"
#include "runtime/grammar/schema_document.h"

namespace hearth::grammar {
namespace {

class SchemaState final : public GrammarState {
 public:
  explicit SchemaState(const JsonMachine& machine) : machine_(machine), state_(machine.start()) {}
  std::unique_ptr<GrammarState> clone() const override { return std::make_unique<SchemaState>(*this); }
  bool advance(uint8_t byte) override { return machine_.advance(state_, byte); }
  bool may_end() const override { return machine_.may_end(state_); }
  bool dead() const override { return state_.phase == JsonState::Phase::dead; }
  uint64_t hash() const override { return JsonMachine::hash(state_); }
  bool same(const GrammarState& other) const override {
    return JsonMachine::same(state_, static_cast<const SchemaState&>(other).state_);
  }
  bool ends_behind_quote() const override {
    return state_.phase == JsonState::Phase::string || state_.phase == JsonState::Phase::name;
  }
  void allow_tokens(const TokenTrie& tokens, PartMasks& parts, TokenMask& mask) const override {
    grammar::allow_tokens(machine_, state_, tokens, parts, mask);
  }

 private:
  const JsonMachine& machine_;
  JsonState state_;
};

class SchemaGrammar final : public Grammar {
 public:
  SchemaGrammar(std::unique_ptr<JsonProgram> program, bool few_blanks) : machine_(std::move(program), few_blanks) {}
  std::unique_ptr<GrammarState> start() const override { return std::make_unique<SchemaState>(machine_); }

 private:
  JsonMachine machine_;
};

}  // namespace

std::shared_ptr<const Grammar> compile_schema(std::string_view schema, const SchemaOptions& options) {
  const SchemaDocument document(schema, options.draft);
  return std::make_shared<SchemaGrammar>(compile_program(document, options.formats), options.few_blanks);
}

}  // namespace hearth::grammar
