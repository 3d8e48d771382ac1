// What models are told of tools where their templates do not tell them.
#pragma once

#include <string>
#include <vector>

#include "runtime/chat/chat_template.h"

namespace hearth {

// Tools are JSON objects as text with name, description and parameters, or such an object inside {"type": "function",
// "function": ...}. All throw Error(usage) for one that is none.

// The system message that announces functions to V2.5, V3 and R1, whose templates do not.
//   system: what else is said there; V2.5's own words where that is nothing
std::string tools_system_message(const std::vector<std::string>& tools, const std::string& system = "");

// The last system message, as some templates know only that, announces the tools to V2.5, V3 and R1.
std::vector<ChatMessage> with_announced_tools(std::vector<ChatMessage> messages, const std::vector<std::string>& tools);

// The generic format for models whose templates know no calls (docs/serving.md): the first system message announces the
// tools, calls are a part of the text, and results are the user's words, together with what the user says next.
std::vector<ChatMessage> with_tagged_tools(std::vector<ChatMessage> messages, const std::vector<std::string>& tools);

// In formats whose tags are plain text, the words of users and tools are told without those tags, so that a model that
// repeats them calls nothing: <\tool_call> for <tool_call>, |DSML| for ｜DSML｜.
void defuse_tags(std::vector<ChatMessage>& messages, CallFormat format);

}  // namespace hearth
