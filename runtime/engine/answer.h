// What a model says, put together from its tokens: whole characters, thoughts set apart from the answer, calls of
// functions from both, no blanks that are the format's, nothing from a stop string on. The same for whoever shows it or
// sends it on.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/chat/chat_template.h"
#include "runtime/chat/stop_strings.h"
#include "runtime/chat/thoughts.h"
#include "runtime/engine/conversation.h"
#include "runtime/tokenizer/tokenizer.h"
#include "runtime/tools/call_parser.h"

namespace hearth {

// Who is given the pieces as they become certain. What it throws comes out of Answer::add and finish.
struct AnswerSink {
  // Never empty; the thoughts of a piece come before its answer.
  std::function<void(const SplitText& piece)> piece = {};
  // Where calls are looked for: a call begins, goes on, ends.
  std::function<void(const CallEvent& event)> call = {};
  std::function<void()> end = {};  // once: nothing follows
};

// Which functions there are for the model to call.
struct CallWishes {
  CallSyntax syntax;
  bool one_only = false;  // the answer ends with the first call
};

struct AnswerCall : ToolCall {
  size_t text_before = 0;  // bytes of the answer that were said before it
};

class Answer {
 public:
  // Stop strings are looked for in the answer and not in thoughts. Throws Error(usage): an empty one.
  //
  // Of a text that is merely continued every character counts.
  static Answer continuation(const Tokenizer& tokenizer, const std::vector<std::string>& stops = {},
                             AnswerSink sink = {});
  // opens_thoughts: ChatPrompt's; lead: ChatTemplate::answer_lead; calls: nothing where there are no functions, and
  // then every character counts
  static Answer in_chat(const Tokenizer& tokenizer, bool opens_thoughts, std::string_view lead,
                        const std::vector<std::string>& stops = {}, AnswerSink sink = {},
                        const std::optional<CallWishes>& calls = {});

  void add(Token token);
  // The answer is over: what was held back belongs to it. Where a limit cut it within a character, that is left out: so
  // what a grammar allows goes on from what was said.
  void finish(StopReason reason = StopReason::eos);

  // A stop string is complete, or all calls are made: the rest is not listened to.
  bool stopped() const { return stops_.stopped() || calls_over_; }
  const std::string& stopped_by() const { return stops_.met(); }
  size_t cut_bytes() const { return stops_.cut(); }  // of the answer, from the stop string on
  // Thinking now; false before it is known whether the model will.
  bool thinking() const { return splitter_ && splitter_->inside(); }
  const std::string& text() const { return text_; }
  const std::string& thoughts() const { return thoughts_; }
  const std::vector<AnswerCall>& calls() const { return calls_; }
  bool began() const { return !text_.empty() || !thoughts_.empty() || !calls_.empty() || stops_.holds_back(); }

 private:
  Answer(const Tokenizer& tokenizer, std::optional<ThoughtSplitter> splitter, const std::vector<std::string>& stops,
         AnswerSink sink);
  void add_text(std::string_view text, bool control);
  void take_events();
  void take_call(const CallEvent& event);
  SplitText split(std::string_view text);
  void take(SplitText piece);
  void say(std::string_view answer);
  void flush();

  const Tokenizer& tokenizer_;
  std::optional<ThoughtSplitter> splitter_;  // none: a continuation
  StopStrings stops_;
  AnswerSink sink_;
  Utf8Stream utf8_;
  std::unique_ptr<CallParser> parser_;  // none: there are no functions
  bool parses_thoughts_ = false;  // it is given thoughts too, in front of the splitter; else what that calls answer
  bool one_call_only_ = false, calls_over_ = false;
  std::vector<CallEvent> events_;  // of the text at hand
  std::vector<AnswerCall> calls_;
  std::string text_, thoughts_;
};

// Has the answer generated, and adds every token as it comes, after callbacks.on_token was told; a stop string ends it.
// The caller finishes the answer, unless this throws: half an answer is finished first.
GenerateResult generate_answer(Conversation& conversation, std::span<const Token> prompt, Sampler& sampler,
                               const GenerateOptions& options, Answer& answer, GenerateCallbacks callbacks = {});

}  // namespace hearth
