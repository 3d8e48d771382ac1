// A conversation that somebody is having: what was said, how answers are to be, and the model's cache. The commands of
// `hearth chat` are calls of this; it knows no terminal and prints nothing.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "runtime/cli/chat/attachment.h"
#include "runtime/cli/chat/chat_state.h"
#include "runtime/engine/answer.h"
#include "runtime/engine/conversation.h"
#include "runtime/engine/loaded_model.h"

namespace hearth::cli {

// Sums over the session.
struct ChatCounts {
  int64_t answers = 0, prompt_tokens = 0, cached_tokens = 0, generated_tokens = 0;
  double prefill_seconds = 0, decode_seconds = 0;
};

class ChatSession {
 public:
  // Who is told of an answer while it is made.
  struct Listener {
    AnswerSink sink = {};
    GenerateCallbacks callbacks = {};
  };
  struct Reply {
    StopReason reason = StopReason::eos;
    int64_t n_tokens = 0;     // of the answer
    bool unanswered = false;  // stopped before a word: all is as it was before the question
    bool repeated = false;    // `again` brought the same answer
  };

  // Throws as `set` does. The model must outlive this.
  ChatSession(LoadedModel& model, ChatTemplate format, ChatSettings settings);

  // Asks, with the attached files in front. A question that finds no room, or that was stopped before a word of the
  // answer, waits (`waiting`); the conversation is as it was. What stopped answers have said is kept.
  // Throws Error(usage): no UTF-8; Error(resource): no room, with the numbers and what helps; what the model throws.
  Reply ask(const std::string& text, Listener listener);
  // Asks the question that waits, else the last one anew, as it stands or in other words: what stood before it is not
  // read again, and the seed is the next one. Where no answer comes, the earlier one stays.
  // Throws as `ask` does, and Error(usage): nothing was asked yet.
  Reply again(const std::optional<std::string>& other_words, Listener listener);
  // Takes the last question back, with all that followed; gives it. Throws Error(usage): there is none.
  std::string undo();
  // Forgets whole turns, the oldest first, until half of the context is free. Gives how many.
  int64_t drop();
  void clear();  // all but the settings

  // Attaches a text to the next question. Throws Error(resource) with the numbers when there is no room for it.
  const AttachedFile& attach(std::string name, std::string text);
  const std::vector<AttachedFile>& attached() const { return attached_; }
  void detach() { attached_.clear(); }

  // Changes all settings or, where one of them cannot be, none. The system message is replaced and what was said stays.
  // Throws Error(usage) naming the setting.
  void set(ChatSettings settings);
  const ChatSettings& settings() const { return state_.settings; }
  const SamplerOptions& sampling() const { return sampler_->options(); }  // in effect

  ChatState state() const;  // with the question that waits as the last entry
  // Goes on with another conversation, or throws what its settings or the template refuse, and nothing has changed. A
  // question at its end that nobody answered waits.
  void restore(ChatState state);

  const ChatTemplate& format() const { return format_; }
  std::optional<std::string> last_question() const;  // of the conversation, without its files
  const ChatMessage* last_answer() const;            // null: there is none
  bool waits() const { return waiting_.has_value(); }
  bool waits_for_room() const { return waiting_ && waiting_->second; }

  int64_t n_ctx() const { return model_.model->options().n_ctx; }
  int64_t used_tokens() const;  // of the context, by what was said
  const ChatCounts& counts() const { return counts_; }

 private:
  struct Prompt {
    std::vector<Token> tokens;
    bool opens_thoughts = false;
  };
  Prompt encode(const ChatSettings& settings, const std::vector<ChatEntry>& entries, bool to_answer = true) const;
  int64_t count(const std::vector<ChatEntry>& entries, bool to_answer) const;
  void require_room(const Prompt& prompt, const ChatEntry& question);
  Reply say(ChatEntry question, Listener listener);
  GenerateResult stream(const Prompt& prompt, ChatMessage& said, Listener listener);
  Sampler sampler_of(const SamplingChoices& choices, std::optional<uint64_t> seed) const;
  size_t last_question_at() const;  // state_.entries.size(): none
  std::string full_context() const;

  LoadedModel& model_;
  const ChatTemplate format_;
  const AnswerForms forms_;
  Conversation conversation_;
  std::optional<Sampler> sampler_;
  uint64_t seed_ = 0;  // chosen or drawn; each answer that is asked for again adds one
  ChatState state_;
  std::vector<AttachedFile> attached_;
  std::optional<std::pair<ChatEntry, bool>> waiting_;  // whether it waits for room
  ChatCounts counts_;
};

}  // namespace hearth::cli
