// Chat formats of the DeepSeek family (fact sheet section 9), recognised from the template stored in the file and
// rendered byte-exactly by our own code: no template language is interpreted.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "runtime/tokenizer.h"

namespace hearth {

struct ToolCall {
  std::string name, arguments;  // arguments: JSON text
  bool operator==(const ToolCall&) const = default;
};

struct ChatMessage {
  enum class Role { system, user, assistant, tool } role = Role::user;
  std::string content;
  std::vector<ToolCall> tool_calls = {};  // of an assistant
  // Of an assistant: what was sampled, without the closing eos. Replayed exactly, in place of content and calls (which
  // say the same), unless the format drops thoughts and there are some.
  std::vector<Token> tokens = {};
};

// What a template does, feature by feature; the published ones have names.
struct ChatFormat {
  enum class Turns {
    none,   // a base model: no template; text is continued
    words,  // "User: ...\n\nAssistant: ..."
    marks,  // <｜User｜>...<｜Assistant｜>...
  } turns = Turns::none;
  // Of turns by marks:
  bool joins_systems = false;         // several system messages are joined by an empty line; else the last one counts
  bool drops_thoughts = false;        // earlier answers appear without what they hold up to </think>
  bool opens_thoughts = false;        // the prompt ends with <think>\n
  bool mark_ends_user = false;        // <｜Assistant｜> ends each user's message; else it begins each answer
  bool lines_between_results = true;  // a newline between the results of several tool calls

  bool operator==(const ChatFormat&) const = default;
  static const ChatFormat none;
  static const ChatFormat v2;        // V2-Chat, V2-Lite-Chat, Coder-V2-Instruct
  static const ChatFormat v2_5;      // V2.5, and V3 as first released
  static const ChatFormat v3;        // V3
  static const ChatFormat v3_0324;   // V3-0324
  static const ChatFormat r1;        // R1
  static const ChatFormat r1_think;  // R1, the later template
  static const ChatFormat r1_0528;   // R1-0528
};

inline constexpr ChatFormat ChatFormat::none{};
inline constexpr ChatFormat ChatFormat::v2{.turns = Turns::words};
inline constexpr ChatFormat ChatFormat::v2_5{.turns = Turns::marks};
inline constexpr ChatFormat ChatFormat::v3{.turns = Turns::marks, .joins_systems = true};
inline constexpr ChatFormat ChatFormat::v3_0324{.turns = Turns::marks, .joins_systems = true, .mark_ends_user = true};
inline constexpr ChatFormat ChatFormat::r1{
    .turns = Turns::marks, .joins_systems = true, .drops_thoughts = true, .lines_between_results = false};
inline constexpr ChatFormat ChatFormat::r1_think{.turns = Turns::marks,
                                                 .joins_systems = true,
                                                 .drops_thoughts = true,
                                                 .opens_thoughts = true,
                                                 .lines_between_results = false};
inline constexpr ChatFormat ChatFormat::r1_0528{
    .turns = Turns::marks, .joins_systems = true, .drops_thoughts = true, .mark_ends_user = true};

std::string_view chat_format_name(const ChatFormat& format);  // "deepseek-v2.5", ...

// By what the stored Jinja text says. Throws Error(model) for a template that is none of these; empty text: none.
ChatFormat recognise_chat_format(std::string_view jinja_template);

// The whole prompt, from BOS on. With `add_generation_prompt` it ends where the assistant begins to speak, which after
// a tool's result is right there. What people and tools wrote is in parts that are not special. Throws Error(usage) for
// tools in a format that has none, and for ChatFormat::none.
std::vector<PromptPart> render_chat(const ChatFormat& format, const std::vector<ChatMessage>& messages,
                                    bool add_generation_prompt);

// What an assistant said, taken apart: the inverse of how render_chat shows it, without the closing eos. Text that is
// not a complete and well-formed list of calls stays content.
//   text: decoded with control tokens
ChatMessage parse_answer(const ChatFormat& format, std::string_view text);

// The system message that announces functions to V2.5, V3 and R1. Tools: JSON objects as text with name, description
// and parameters, or such an object inside {"type": "function", "function": ...}. Throws Error(usage).
std::string tools_system_message(const std::vector<std::string>& tools_json);

}  // namespace hearth
