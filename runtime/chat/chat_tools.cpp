#include "runtime/chat/chat_tools.h"

#include <algorithm>
#include <string_view>
#include <utility>
#include <vector>

#include "quant/error.h"
#include "runtime/chat/tool_words.h"

namespace hearth {

namespace {

using Role = ChatMessage::Role;

void replace_all(std::string& text, std::string_view what, std::string_view by) {
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + by.size()))
    text.replace(at, what.size(), by);
}

std::string announcement_of_tags(const std::vector<std::string>& tools) {
  std::string text = "# Tools\n\nYou can call functions. These are there, each as a JSON object:\n<tools>\n";
  for (const std::string& tool : tools) text += parse_tool(tool).dump() + "\n";
  return text +
         "</tools>\n\nTo call one, write its name and its arguments as a JSON object between <tool_call> tags, once "
         "for "
         "each call, and nothing after the last:\n<tool_call>\n{\"name\": \"NAME\", \"arguments\": {\"ARGUMENT\": "
         "VALUE}}\n</tool_call>\nYou will be given what the function returns between <tool_response> tags. When no "
         "function helps, answer as usual.";
}

std::string tagged_call(const ToolCall& call) {
  return "<tool_call>\n{\"name\": " +
         nlohmann::ordered_json(call.name).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) +
         ", \"arguments\": " + (call.arguments.empty() ? "{}" : call.arguments) + "}\n</tool_call>";
}

}  // namespace

nlohmann::ordered_json parse_tool(const std::string& text) {
  using Json = nlohmann::ordered_json;
  Json tool = Json::parse(text, nullptr, false);
  require(!tool.is_discarded() && tool.is_object(), ErrorKind::usage, "a tool is not a JSON object: {}",
          text.substr(0, 60));
  if (tool.contains("function") && tool["function"].is_object()) tool = Json(tool["function"]);
  require(tool.contains("name") && tool["name"].is_string(), ErrorKind::usage, "a tool has no name: {}",
          text.substr(0, 60));
  return tool;
}

std::string tools_system_message(const std::vector<std::string>& tools, const std::string& system) {
  std::string message = system.empty() ? "You are a helpful Assistant." : system;
  message += "\n\n## Tools\n\n### Function\n\nYou have the following functions available:\n";
  for (const std::string& text : tools) {
    const auto tool = parse_tool(text);
    message += "\n- `" + tool["name"].get<std::string>() + "`:\n```json\n" + tool.dump(4) + "\n```";
  }
  return message;
}

std::vector<ChatMessage> with_announced_tools(std::vector<ChatMessage> messages,
                                              const std::vector<std::string>& tools) {
  const auto is_system = [](const ChatMessage& message) { return message.role == Role::system; };
  const auto last = std::find_if(messages.rbegin(), messages.rend(), is_system);
  if (last == messages.rend())
    messages.insert(messages.begin(), {.role = Role::system, .content = tools_system_message(tools)});
  else
    last->content = tools_system_message(tools, last->content);
  return messages;
}

std::vector<ChatMessage> with_tagged_tools(std::vector<ChatMessage> messages, const std::vector<std::string>& tools) {
  std::vector<ChatMessage> told;
  bool announced = tools.empty(), after_results = false;
  for (ChatMessage& message : messages) {
    const bool result = message.role == Role::tool;
    if (message.role == Role::system && !std::exchange(announced, true))
      message.content += (message.content.empty() ? "" : "\n\n") + announcement_of_tags(tools);
    for (const ToolCall& call : std::exchange(message.tool_calls, {}))
      message.content += (message.content.empty() ? "" : "\n") + tagged_call(call);
    if (result) {
      message.role = Role::user;
      message.content = "<tool_response>\n" + message.content + "\n</tool_response>";
    }
    if (after_results && message.role == Role::user)
      told.back().content += "\n" + message.content;
    else
      told.push_back(std::move(message));
    after_results = result;
  }
  if (!announced) told.insert(told.begin(), {.role = Role::system, .content = announcement_of_tags(tools)});
  return told;
}

void defuse_tags(std::vector<ChatMessage>& messages, CallFormat format) {
  for (ChatMessage& message : messages) {
    if (message.role != Role::user && message.role != Role::tool) continue;
    if (format == CallFormat::dsml) replace_all(message.content, "｜DSML｜", "|DSML|");
    if (format != CallFormat::tagged) continue;
    for (const std::string_view word : {"tool_call>", "tool_response>"}) {
      replace_all(message.content, "<" + std::string(word), "<\\" + std::string(word));
      replace_all(message.content, "</" + std::string(word), "<\\/" + std::string(word));
    }
  }
}

}  // namespace hearth
