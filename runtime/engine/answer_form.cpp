#include "runtime/engine/answer_form.h"

#include <utility>

#include "runtime/grammar/text_paths.h"
#include "runtime/grammar/token_masks.h"
#include "runtime/grammar/tokenizer_trie.h"

namespace hearth {

namespace {

class BoundAnswer final : public Constraint {
 public:
  BoundAnswer(std::shared_ptr<const grammar::Grammar> form, std::shared_ptr<const grammar::TokenTrie> tokens)
      : masks_(std::move(form), std::move(tokens)), matcher_(masks_.start()) {}

  std::span<const uint64_t> allowed() override { return masks_.mask(matcher_).words(); }
  void accept(Token token) override { masks_.advance(matcher_, token); }

 private:
  grammar::TokenMasks masks_;
  grammar::Matcher matcher_;
};

std::shared_ptr<const grammar::Grammar> with_thoughts(std::shared_ptr<const grammar::Grammar> form,
                                                      ThoughtsInFront thoughts) {
  using grammar::TextPart;
  if (!thoughts.opened && !thoughts.possible) return form;
  const TextPart answer = {.kind = TextPart::Kind::grammar, .grammar = std::move(form)};
  const TextPart thinks = {.kind = TextPart::Kind::free, .text = "</think>"};
  if (thoughts.opened) return grammar::compile_paths({{.parts = {thinks, answer}}});
  const TextPart opens = {.kind = TextPart::Kind::text, .text = "<think>"};
  return grammar::compile_paths({{.parts = {answer}}, {.parts = {opens, thinks, answer}}});
}

}  // namespace

AnswerForms::AnswerForms(const Tokenizer& tokenizer, int64_t n_rows, std::vector<Token> turn_ends)
    : tokenizer_(tokenizer), n_rows_(n_rows), turn_ends_(std::move(turn_ends)) {}

AnswerForms::~AnswerForms() = default;

std::shared_ptr<Constraint> AnswerForms::bind(const AnswerForm& form, ThoughtsInFront thoughts) const {
  auto compiled = form.kind == AnswerForm::Kind::schema ? grammar::compile_schema(form.text, {.few_blanks = true})
                                                        : grammar::compile_gbnf(form.text);
  compiled = with_thoughts(std::move(compiled), thoughts);
  std::call_once(once_, [&] { tokens_ = grammar::token_trie_of(tokenizer_, size_t(n_rows_), turn_ends_); });
  return std::make_shared<BoundAnswer>(std::move(compiled), tokens_);
}

}  // namespace hearth
