// What a request comes down to, whatever protocol it is in: texts to be generated, and somebody who writes them down.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "runtime/engine/answer.h"
#include "runtime/engine/call_form.h"
#include "runtime/engine/generation.h"
#include "runtime/server/api_error.h"

namespace hearth::server {

struct AnswerTask {
  std::vector<std::vector<Token>> prompts;
  int n = 1;               // choices for each prompt; they follow one another
  GenerationRequest each;  // but for the prompt; the choice i of a prompt has the seed + i
  std::vector<std::shared_ptr<Constraint>> constraints = {};  // of each choice; none: any text
  std::vector<std::string> stops = {};
  bool chat = false;                       // thoughts are set apart, and a blank in front of the answer is the format's
  bool opens_thoughts = false;             // the prompt ends inside <think>
  std::string lead = {};                   // ChatTemplate::answer_lead
  std::optional<CallWishes> calls = {};    // nothing: the model has no functions to call
  std::optional<CallForm> call_form = {};  // what those calls look like
  bool must_call = false;                  // one of the functions in call_form
  std::vector<bool> strict = {};           // of each: if called, then with arguments that satisfy its schema
  bool stream = false;

  size_t n_choices() const { return prompts.size() * size_t(n); }
};

// A call that the model made. Its arguments are JSON, unless it was cut short.
struct ChoiceCall {
  std::string id, name;
  std::string arguments = {};  // none: ""
  size_t text_before = 0;      // bytes of choice.text that were said before it
};

// One of the texts, as far as it is known.
struct Choice {
  size_t index = 0;
  int64_t n_prompt = 0;  // tokens
  uint64_t seed = 0;
  std::string text = {}, thoughts = {};
  std::vector<ChoiceCall> calls = {};
  int64_t n_tokens = 0, n_thinking = 0;  // sampled; of those, thoughts and the marks around them
  std::vector<GeneratedToken> logged;    // where logprobs are wanted: the tokens of the text
  ReadingProgress reading = {};
  bool over = false;
  // When it is over:
  std::string stopped_by = {};  // the stop string
  GenerationSummary summary = {};
};

// Puts answers into a protocol's words: whole at the end, or as events (SSE) while they come. What an event function
// returns is sent as it is; nothing: not sent. All calls come one after another.
class AnswerWriter {
 public:
  virtual ~AnswerWriter() = default;

  virtual Json whole(std::span<const Choice> choices) = 0;

  virtual std::string began(std::span<const Choice>) { return {}; }
  virtual std::string reading(const Choice&) { return {}; }
  // What was added to choice.text and choice.thoughts; and to choice.logged, of whose tokens some may lack text.
  virtual std::string piece(const Choice& choice, const SplitText& piece, std::span<const GeneratedToken> logged) = 0;
  // What a call's event added to choice.calls.back().
  virtual std::string call(const Choice&, const CallEvent&) { return {}; }
  virtual std::string ended(const Choice&) { return {}; }
  virtual std::string completed(std::span<const Choice> choices) = 0;
  virtual std::string failed(const ApiError& error) { return error_event(dialect(), error); }
  virtual std::string ping() { return ": ping\n\n"; }  // a comment
  virtual Dialect dialect() const { return Dialect::openai; }
};

struct AskedAnswer {
  AnswerTask task;
  std::unique_ptr<AnswerWriter> writer;
};

}  // namespace hearth::server
