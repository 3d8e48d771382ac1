#include "runtime/chat/chat_tools.h"

#include <optional>
#include <string_view>
#include <vector>

#include "quant/error.h"
#include "runtime/chat/chat_template.h"

namespace hearth {

namespace {

constexpr std::string_view kCallsBegin = "<｜tool▁calls▁begin｜>", kCallsEnd = "<｜tool▁calls▁end｜>";
constexpr std::string_view kCallBegin = "<｜tool▁call▁begin｜>", kCallEnd = "<｜tool▁call▁end｜>";
constexpr std::string_view kSeparator = "<｜tool▁sep｜>";
constexpr std::string_view kFenceBegin = "\n```json\n", kFenceEnd = "```";

// Takes `expected` off the front of `text`.
bool take(std::string_view& text, std::string_view expected) {
  if (!text.starts_with(expected)) return false;
  text.remove_prefix(expected.size());
  return true;
}

// Takes everything up to `end` off the front of `text`, and `end` with it.
std::optional<std::string_view> take_until(std::string_view& text, std::string_view end) {
  const size_t at = text.find(end);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view taken = text.substr(0, at);
  text.remove_prefix(at + end.size());
  return taken;
}

// One call without its marks: "function<sep>NAME\n```json\nARGUMENTS\n```", or of V3.1 and later "NAME<sep>ARGUMENTS".
std::optional<ToolCall> parse_call(std::string_view text) {
  const auto before = take_until(text, kSeparator);
  if (!before) return std::nullopt;
  const auto name = take_until(text, kFenceBegin);
  if (!name) return ToolCall{std::string(*before), std::string(text)};
  if (!text.ends_with(kFenceEnd)) return std::nullopt;
  text.remove_suffix(kFenceEnd.size());
  if (text.ends_with('\n')) text.remove_suffix(1);
  return ToolCall{std::string(*name), std::string(text)};
}

// The calls that all of `text` is made of.
std::optional<std::vector<ToolCall>> parse_calls(std::string_view text) {
  std::vector<ToolCall> calls;
  if (!take(text, kCallsBegin)) return std::nullopt;
  do {
    if (!take(text, kCallBegin)) return std::nullopt;
    const auto inside = take_until(text, kCallEnd);
    auto call = inside ? parse_call(*inside) : std::nullopt;
    if (!call) return std::nullopt;
    calls.push_back(std::move(*call));
    take(text, "\n");
  } while (text.starts_with(kCallBegin));
  if (text != kCallsEnd) return std::nullopt;
  return calls;
}

}  // namespace

ChatMessage ChatTemplate::parse_answer(std::string_view text) const {
  ChatMessage answer{.role = ChatMessage::Role::assistant, .content = ""};
  if (text.starts_with(answer_lead_)) text.remove_prefix(answer_lead_.size());
  const size_t at = calls_tools_ ? text.find(kCallsBegin) : std::string_view::npos;
  if (at != std::string_view::npos) {
    if (auto calls = parse_calls(text.substr(at))) {
      answer.tool_calls = std::move(*calls);
      text = text.substr(0, at);
    }
  }
  answer.content = text;
  return answer;
}

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

std::string tools_system_message(const std::vector<std::string>& tools_json) {
  std::string message =
      "You are a helpful Assistant.\n\n## Tools\n\n### Function\n\nYou have the following functions available:\n";
  for (const std::string& text : tools_json) {
    const auto tool = parse_tool(text);
    message += "\n- `" + tool["name"].get<std::string>() + "`:\n```json\n" + tool.dump(4) + "\n```";
  }
  return message;
}

}  // namespace hearth
