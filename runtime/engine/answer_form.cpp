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

std::shared_ptr<const grammar::Grammar> compiled(const AnswerForm& form) {
  if (form.kind == AnswerForm::Kind::gbnf) return grammar::compile_gbnf(form.text);
  return grammar::compile_schema(form.text, {.few_blanks = true});
}

grammar::TextPart whole(std::shared_ptr<const grammar::Grammar> form) {
  return {.kind = grammar::TextPart::Kind::grammar, .grammar = std::move(form)};
}

std::shared_ptr<const grammar::Grammar> with_thoughts(std::shared_ptr<const grammar::Grammar> form,
                                                      ThoughtsInFront thoughts) {
  using grammar::TextPart;
  if (!thoughts.opened && !thoughts.possible) return form;
  const TextPart answer = whole(std::move(form));
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
  return bound(compiled(form), thoughts);
}

std::shared_ptr<Constraint> AnswerForms::bind(const CallForm& calls, ThoughtsInFront thoughts) const {
  return bound(compile_calls(calls), thoughts);
}

std::shared_ptr<Constraint> AnswerForms::bind(const CallForm& calls, const AnswerForm& or_form,
                                              ThoughtsInFront thoughts) const {
  auto calling = compile_calls(calls), answering = compiled(or_form);
  return bound(
      grammar::compile_paths({{.parts = {whole(std::move(calling))}}, {.parts = {whole(std::move(answering))}}}),
      thoughts);
}

std::shared_ptr<Constraint> AnswerForms::bound(std::shared_ptr<const grammar::Grammar> form,
                                               ThoughtsInFront thoughts) const {
  form = with_thoughts(std::move(form), thoughts);
  std::call_once(once_, [&] { tokens_ = grammar::token_trie_of(tokenizer_, size_t(n_rows_), turn_ends_); });
  return std::make_shared<BoundAnswer>(std::move(form), tokens_);
}

}  // namespace hearth
