// A small vocabulary with the control tokens of every built-in chat format.
#pragma once

#include <string>
#include <vector>

#include "runtime/chat/chat_template.h"
#include "tests/runtime/tokenizer/vocabulary.h"

namespace hearth::test {

inline const std::vector<std::string> kChatMarks = {
    "<｜▁pad▁｜>",
    "<｜tool▁calls▁begin｜>",
    "<｜tool▁calls▁end｜>",
    "<｜tool▁call▁begin｜>",
    "<｜tool▁call▁end｜>",
    "<｜tool▁outputs▁begin｜>",
    "<｜tool▁outputs▁end｜>",
    "<｜tool▁output▁begin｜>",
    "<｜tool▁output▁end｜>",
    "<｜tool▁sep｜>",
    "<|im_start|>",
    "<|im_end|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
};

struct ChatVocabulary : SmallVocabulary {
  ChatVocabulary() {
    for (const std::string& mark : kChatMarks) add(mark, TokenType::control);
    add("<think>", TokenType::user_defined);  // as in V3's
    add("</think>", TokenType::user_defined);
  }
};

inline ChatMessage says(ChatMessage::Role role, std::string text) {
  return {.role = role, .content = std::move(text)};
}
inline ChatMessage preamble(std::string text) {
  return says(ChatMessage::Role::system, std::move(text));
}
inline ChatMessage user(std::string text) {
  return says(ChatMessage::Role::user, std::move(text));
}
inline ChatMessage answer(std::string text, std::vector<Token> tokens = {}) {
  return {.role = ChatMessage::Role::assistant, .content = std::move(text), .tokens = std::move(tokens)};
}
inline ChatMessage result(std::string text) {
  return says(ChatMessage::Role::tool, std::move(text));
}
inline ChatMessage calls(std::vector<ToolCall> made, std::string text = "") {
  return {.role = ChatMessage::Role::assistant, .content = std::move(text), .tool_calls = std::move(made)};
}

// The prompt as text; remembered tokens as [1 2].
inline std::string text_of(const std::vector<PromptPart>& parts) {
  std::string out;
  for (const PromptPart& part : parts) {
    out += part.text;
    for (size_t i = 0; i < part.tokens.size(); ++i) out += (i ? " " : "[") + std::to_string(part.tokens[i]);
    if (!part.tokens.empty()) out += "]";
  }
  return out;
}

}  // namespace hearth::test
