// Answers that are bound to a form: a JSON Schema or a grammar (docs/grammar.md).
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "runtime/engine/call_form.h"
#include "runtime/engine/generation.h"
#include "runtime/tokenizer/tokenizer.h"

namespace hearth {

namespace grammar {
class TokenTrie;
}

struct AnswerForm {
  enum class Kind { schema, gbnf } kind = Kind::schema;
  std::string text = {};

  // Any JSON object.
  static AnswerForm json_object() { return {Kind::schema, R"({"type": "object"})"}; }
};

// What an answer may begin with in front of its form. Neither: nothing.
struct ThoughtsInFront {
  bool opened = false;    // the prompt ends inside <think>: what comes first is thought, up to </think>
  bool possible = false;  // thoughts may come first, between <think> and </think>
};

// Binds answers of one model. From any thread.
class AnswerForms {
 public:
  //   n_rows: of the logits;  turn_ends: tokens besides eos that end an answer
  AnswerForms(const Tokenizer& tokenizer, int64_t n_rows, std::vector<Token> turn_ends = {});
  ~AnswerForms();

  // For one answer. Throws Error(usage) that begins with a JSON pointer or a line (it is a grammar::Refusal) for a form
  // that cannot be kept to.
  std::shared_ptr<Constraint> bind(const AnswerForm& form, ThoughtsInFront thoughts = {}) const;
  // To calls; to calls or a form, as the model has it.
  std::shared_ptr<Constraint> bind(const CallForm& calls, ThoughtsInFront thoughts = {}) const;
  std::shared_ptr<Constraint> bind(const CallForm& calls, const AnswerForm& or_form,
                                   ThoughtsInFront thoughts = {}) const;

 private:
  std::shared_ptr<Constraint> bound(std::shared_ptr<const grammar::Grammar> form, ThoughtsInFront thoughts) const;

  const Tokenizer& tokenizer_;
  int64_t n_rows_;
  std::vector<Token> turn_ends_;
  mutable std::once_flag once_;
  mutable std::shared_ptr<const grammar::TokenTrie> tokens_;  // made for the first answer that is bound
};

}  // namespace hearth
