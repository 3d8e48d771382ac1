// Conversations as prompts. The text of a chat template decides, whichever model family wrote it: the file's own, a
// built-in one, or a user's. It is interpreted (runtime/jinja), and what people, tools and models wrote is kept apart
// from what the template wrote: only the latter may hold control tokens.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "quant/gguf.h"
#include "runtime/jinja/template.h"
#include "runtime/tokenizer/tokenizer.h"
#include "runtime/tools/call_parser.h"

namespace hearth {

struct ToolCall {
  std::string name, arguments;  // arguments: JSON text
  bool operator==(const ToolCall&) const = default;
};

struct ChatMessage {
  enum class Role { system, user, assistant, tool } role = Role::user;
  std::string content;                    // of an assistant: the answer alone
  std::vector<ToolCall> tool_calls = {};  // of an assistant
  std::string thoughts = {};              // of an assistant, without <think> and </think>
  // Of an assistant: what was sampled, without the closing eos. Replayed exactly, so that the cache is found again,
  // where the prompt shows the same text; a template that drops thoughts or trims answers has its way.
  std::vector<Token> tokens = {};
};

struct ChatOptions {
  bool add_generation_prompt = true;
  std::optional<bool> think = {};       // nothing: as the template does by itself
  std::vector<std::string> tools = {};  // JSON objects as text, {"type": "function", "function": {...}} or the inside
  std::map<std::string, std::string> variables =
      {};  // further ones that the template may read; nobody's control tokens
};

struct OriginPiece;

struct ChatPrompt {
  std::vector<PromptPart> parts;  // from BOS on
  bool opens_thoughts = false;    // it ends inside <think>: what the model says next is thought
};

class ChatTemplate {
 public:
  // Parses `jinja` and tries it on a few messages. `name` is what errors call it; the tokenizer must outlive this.
  // Throws Error(model) with the line that is not understood.
  ChatTemplate(std::string_view jinja, std::string name, const Tokenizer& tokenizer);

  const std::string& name() const { return name_; }
  const std::string& text() const { return text_; }  // Jinja's

  // Tools are announced by the template where it can, else in the system message; where it knows no calls that a parser
  // knows, calls and results are text (runtime/chat/tool_words.h).
  //
  // Throws Error(model) with the line where the template fails, Error(usage) with its own words for a conversation that
  // it refuses, and Error(usage) for a tool that is none, or for `think` when it knows nothing of it.
  ChatPrompt render(const std::vector<ChatMessage>& messages, const ChatOptions& options = {}) const;

  bool can_switch_thinking() const { return can_switch_thinking_; }
  bool thinks() const { return thinks_; }  // it speaks of </think>

  // Tokens besides eos that end a turn: <|im_end|>, <|eot_id|>, and the mark of the next user's turn.
  const std::vector<Token>& stop_tokens() const { return stop_tokens_; }
  // Blanks in front of an answer that are the format's, though the model writes them: " " in V2's "Assistant: ".
  const std::string& answer_lead() const { return answer_lead_; }

  // How calls look in what the model says.
  //   names: of the functions that there are
  CallSyntax call_syntax(std::vector<std::string> names) const;
  // The control tokens without which nothing is a call; none where calls are text.
  std::vector<Token> call_tokens() const;

  // Another template that writes plain turns as this one does, and conversations with calls better: that one is asked
  // for them. Templates are published that leave lists of calls unclosed, lose the mark of a second round's results,
  // and announce no tools.
  void set_stand_in(std::shared_ptr<const ChatTemplate> other);
  bool writes_turns_as(const ChatTemplate& other) const;
  bool announces_tools() const { return knows_calls_ && announces_tools_; }
  CallFormat call_format() const { return call_format_; }

 private:
  // What this template wants to be given for a message that only calls tools.
  struct CallShape {
    bool null_content = false;      // none, else ""
    bool arguments_as_text = true;  // else as an object
    bool shows_calls = false;
  };

  std::vector<OriginPiece> render_pieces(const std::vector<ChatMessage>& messages, const ChatOptions& options,
                                         const CallShape& shape, const jinja::Limits& limits = {}) const;
  void set_thinking(bool think, jinja::Variables& variables) const;
  CallShape find_call_shape() const;
  void look_at_turns();
  ChatPrompt render_told(const std::vector<ChatMessage>& messages, const ChatOptions& options) const;
  std::vector<ChatMessage> with_tools(std::vector<ChatMessage> messages, const ChatOptions& options) const;

  jinja::Template template_;
  std::string name_, text_;
  const Tokenizer* tokenizer_;
  bool can_switch_thinking_ = false, announces_tools_ = false, thinks_ = false;
  CallFormat call_format_ = CallFormat::tagged;
  bool knows_calls_ = false;  // it writes them in that format
  std::shared_ptr<const ChatTemplate> stand_in_;
  const char* thoughts_key_;  // what the template calls the thoughts of a message
  CallShape call_shape_;
  std::vector<Token> stop_tokens_;
  std::string answer_lead_;
};

// The one that `option` names (a built-in format, or a file of Jinja text), else the model file's own; nothing: it has
// none. Throws Error(usage) for a name that is neither, Error(file), and what the constructor throws.
std::optional<ChatTemplate> choose_chat_template(const std::string& option, const GgufMetadata& metadata,
                                                 const Tokenizer& tokenizer);

// Built-in formats: deepseek-v2, deepseek-v2.5, deepseek-v3, ..., chatml, llama3.
std::vector<std::string> chat_template_names();

// Those whose control tokens are in the vocabulary, the likeliest first: advice for a file without a template.
std::vector<std::string> fitting_chat_templates(const Tokenizer& tokenizer);

}  // namespace hearth
