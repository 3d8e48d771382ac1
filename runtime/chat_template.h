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
};

struct ChatMessage {
  enum class Role { system, user, assistant, tool } role = Role::user;
  std::string content;
  std::vector<ToolCall> tool_calls = {};  // of an assistant
  std::vector<Token> tokens = {};  // of an assistant: what was sampled (without the closing eos), replayed exactly
};

enum class ChatFormat {
  none,       // a base model: no template; text is continued
  v2,         // V2-Chat, V2-Lite-Chat, Coder-V2-Instruct: "User: ...\n\nAssistant:"
  v2_5,       // V2.5: <｜User｜>...<｜Assistant｜>
  v3,         // V3: as V2.5, several system messages: the last one (first release) is kept ...
  v3_joined,  // ... or they are joined by an empty line (later V3)
  r1,         // as V3, answers without their <think> part in later prompts
  r1_think,   // later R1 template: the prompt ends with <think>\n
};

std::string_view chat_format_name(ChatFormat format);
// By what the stored Jinja text says. Throws Error(model) for a template that is none of these; empty text: none.
ChatFormat recognise_chat_format(std::string_view jinja_template);

// The whole prompt, from BOS on. With `add_generation_prompt` it ends where the assistant begins to speak.
std::vector<PromptPart> render_chat(ChatFormat format, const std::vector<ChatMessage>& messages,
                                    bool add_generation_prompt);

// The system message that announces functions to V2.5 and V3 (fact sheet section 9). Tools: JSON objects as text
// with name, description and parameters.
std::string tools_system_message(const std::vector<std::string>& tools_json);

}  // namespace hearth
