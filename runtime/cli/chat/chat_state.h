// What a conversation consists of, apart from the model that it is held with: what /save keeps and /load brings back.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "runtime/chat/chat_template.h"
#include "runtime/engine/answer_form.h"
#include "runtime/engine/sampling_defaults.h"

namespace hearth::cli {

// What may be changed while the conversation goes on.
struct ChatSettings {
  SamplingChoices sampling = {};           // what is not chosen, the model recommends
  std::string system = {};                 // empty: no system message
  std::optional<bool> think = {};          // nothing: as the template does by itself
  bool hide_thoughts = false;              // of the screen; not kept in a file
  int64_t max_tokens = -1;                 // of an answer; -1: no limit
  std::vector<std::string> stops = {};     // texts that end an answer
  std::optional<std::string> schema = {};  // JSON Schema of the answers; nothing: any text
};

struct ChatEntry {
  ChatMessage message;
  std::string files = {};                  // of a question: attached texts, which stand in front of it
  std::vector<std::string> call_ids = {};  // of message.tool_calls, as OpenAI's form names them
  std::string answers_call = {};           // of a tool's result: the id of its call
};

struct ChatState {
  ChatSettings settings = {};
  std::vector<ChatEntry> entries = {};  // without the system message in front, which is a setting
};

}  // namespace hearth::cli
