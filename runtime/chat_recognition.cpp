#include "runtime/chat_recognition.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "quant/error.h"

namespace hearth {

namespace {

// The bar is U+FF5C, not ASCII's; the blank is U+2581, neither a space nor an underscore.
constexpr std::string_view kBos = "<｜begin▁of▁sentence｜>", kEos = "<｜end▁of▁sentence｜>";
constexpr std::string_view kUser = "<｜User｜>", kAssistant = "<｜Assistant｜>";
constexpr std::string_view kCallsBegin = "<｜tool▁calls▁begin｜>", kCallsEnd = "<｜tool▁calls▁end｜>";
constexpr std::string_view kCallBegin = "<｜tool▁call▁begin｜>", kCallEnd = "<｜tool▁call▁end｜>";
constexpr std::string_view kSeparator = "<｜tool▁sep｜>";
constexpr std::string_view kResultsBegin = "<｜tool▁outputs▁begin｜>", kResultsEnd = "<｜tool▁outputs▁end｜>";
constexpr std::string_view kResultBegin = "<｜tool▁output▁begin｜>", kResultEnd = "<｜tool▁output▁end｜>";
constexpr std::string_view kThoughtsBegin = "<think>", kThoughtsEnd = "</think>";
constexpr std::string_view kFenceBegin = "\n```json\n", kFenceEnd = "```";

bool contains(std::string_view text, std::string_view what) {
  return text.find(what) != std::string_view::npos;
}

// A template's text in one spelling: single quotes, and line ends as characters, which mean the same to Jinja.
std::string normalised(std::string_view jinja) {
  std::string text;
  for (size_t i = 0; i < jinja.size(); ++i) {
    const bool line_end = jinja.substr(i, 2) == "\\n";
    text += line_end ? '\n' : jinja[i] == '"' ? '\'' : jinja[i];
    i += line_end;
  }
  return text;
}

// How often `mark` stands in the template. What follows it must be one of `after`, or the format is not one of ours.
int count(std::string_view jinja, std::string_view mark, const std::vector<std::string>& after) {
  int found = 0;
  for (size_t at = 0; (at = jinja.find(mark, at)) != std::string_view::npos; ++found) {
    at += mark.size();
    const std::string_view rest = jinja.substr(at);
    const bool known =
        std::any_of(after.begin(), after.end(), [&](const auto& text) { return rest.starts_with(text); });
    require(known, ErrorKind::model, "unknown chat template: '{}' is followed by '{}', which no format known here does",
            mark, rest.substr(0, rest.find_first_of("\n\r")).substr(0, 40));
  }
  return found;
}

ChatFormat recognise_marks(std::string_view jinja) {
  const std::string thoughts = std::string(kThoughtsBegin) + "\n";
  count(jinja, kUser, {"'", "{{"});
  count(jinja, kAssistant, {"'", "{{", std::string(kCallsBegin), thoughts});
  count(jinja, kThoughtsBegin, {"\n"});
  count(jinja, kThoughtsEnd, {"' in ", "')"});  // asked for and split at, never written
  ChatFormat format{.turns = ChatFormat::Turns::marks};
  format.joins_systems = contains(jinja, "'\n\n'");
  format.drops_thoughts = contains(jinja, "split('" + std::string(kThoughtsEnd) + "')");
  format.opens_thoughts = contains(jinja, std::string(kAssistant) + thoughts);
  format.mark_ends_user = contains(jinja, "+ '" + std::string(kAssistant) + "'");
  // The first result and the later ones are written apart, the later ones with or without a newline.
  const bool apart = count(jinja, kResultBegin, {""}) > 1;
  format.lines_between_results = !apart || contains(jinja, "\n" + std::string(kResultBegin));
  return format;
}

// --- rendering ---

class Renderer {
 public:
  explicit Renderer(const ChatFormat& format) : format_(format) {}

  void words(const ChatMessage& message) {
    using Role = ChatMessage::Role;
    require(message.role != Role::tool && message.tool_calls.empty(), ErrorKind::usage,
            "the chat format of this model ({}) has no tools", chat_format_name(format_));
    if (message.role == Role::user) write("User: ");
    if (message.role == Role::assistant) write(message.tokens.empty() ? "Assistant: " : "Assistant:");
    if (message.role == Role::assistant) {
      quote_answer(message);
      write(kEos);
    } else {
      quote(message.content);
      write("\n\n");
    }
  }

  void marks(const ChatMessage& message) {
    using Role = ChatMessage::Role;
    if (message.role == Role::system) return;  // said at the beginning
    if (message.role == Role::tool) {
      if (!after_result_) write(kResultsBegin);
      if (after_result_ && format_.lines_between_results) write("\n");
      write(kResultBegin);
      quote(message.content);
      write(kResultEnd);
      after_result_ = true;
      return;
    }
    const bool continues = after_result_;  // an answer to a tool's result follows it directly
    end_results();
    if (message.role == Role::user) {
      write(kUser);
      quote(message.content);
      if (format_.mark_ends_user) write(kAssistant);
    } else {
      if (!continues && !format_.mark_ends_user) write(kAssistant);
      quote_answer(message);
      write(kEos);
    }
    after_user_ = message.role == Role::user;
  }

  void systems(const std::vector<ChatMessage>& messages) {
    std::string joined;
    bool first = true;
    for (const ChatMessage& message : messages) {
      if (message.role != ChatMessage::Role::system) continue;
      if (!format_.joins_systems) joined.clear();
      if (format_.joins_systems && !first) joined += "\n\n";
      joined += message.content;
      first = false;
    }
    quote(joined);
  }

  std::vector<PromptPart> finish(bool add_generation_prompt) {
    const bool continues = after_result_;
    end_results();
    if (!add_generation_prompt) return std::move(parts_);
    if (format_.turns == ChatFormat::Turns::words) {
      write("Assistant:");  // the model writes the space: after a prompt with one, V2-Lite babbles
    } else if (!continues) {
      if (!(format_.mark_ends_user && after_user_)) write(kAssistant);
      if (format_.opens_thoughts) write(std::string(kThoughtsBegin) + "\n");
    }
    return std::move(parts_);
  }

  void write(std::string_view text) { append(text, true); }

 private:
  void append(std::string_view text, bool special) {
    if (text.empty()) return;
    if (parts_.empty() || parts_.back().special != special || !parts_.back().tokens.empty())
      parts_.push_back({"", special});
    parts_.back().text += text;
  }

  void quote(std::string_view text) { append(text, false); }

  void quote_answer(const ChatMessage& message) {
    const size_t thoughts_end = message.content.rfind(kThoughtsEnd);
    const bool drops = format_.drops_thoughts && thoughts_end != std::string::npos;
    if (!message.tokens.empty() && !drops) {
      parts_.push_back({"", false, message.tokens});
      return;
    }
    quote(drops ? std::string_view(message.content).substr(thoughts_end + kThoughtsEnd.size()) : message.content);
    for (size_t i = 0; i < message.tool_calls.size(); ++i) {
      write(i == 0 ? kCallsBegin : "\n");
      write(std::string(kCallBegin) + "function" + std::string(kSeparator));
      quote(message.tool_calls[i].name);
      write(kFenceBegin);
      quote(message.tool_calls[i].arguments);
      write("\n" + std::string(kFenceEnd) + std::string(kCallEnd));
    }
    if (!message.tool_calls.empty()) write(kCallsEnd);
  }

  void end_results() {
    if (after_result_) write(kResultsEnd);
    after_result_ = false;
  }

  const ChatFormat& format_;
  std::vector<PromptPart> parts_;
  bool after_result_ = false, after_user_ = false;
};

// --- parsing ---

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

// The calls that all of `text` is made of.
std::optional<std::vector<ToolCall>> parse_calls(std::string_view text) {
  std::vector<ToolCall> calls;
  if (!take(text, kCallsBegin)) return std::nullopt;
  do {
    if (!take(text, kCallBegin) || !take_until(text, kSeparator)) return std::nullopt;
    const auto name = take_until(text, kFenceBegin);
    auto arguments = take_until(text, kCallEnd);
    if (!name || !arguments || !arguments->ends_with(kFenceEnd)) return std::nullopt;
    arguments->remove_suffix(kFenceEnd.size());
    if (arguments->ends_with('\n')) arguments->remove_suffix(1);
    calls.push_back({std::string(*name), std::string(*arguments)});
  } while (take(text, "\n"));
  if (text != kCallsEnd) return std::nullopt;
  return calls;
}

}  // namespace

std::string_view chat_format_name(const ChatFormat& format) {
  if (format.turns == ChatFormat::Turns::none) return "none";
  if (format.turns == ChatFormat::Turns::words) return "deepseek-v2";
  if (format.opens_thoughts) return "deepseek-r1, opening thoughts";
  if (format.drops_thoughts) return format.mark_ends_user ? "deepseek-r1-0528" : "deepseek-r1";
  if (format.mark_ends_user) return "deepseek-v3-0324";
  return format.joins_systems ? "deepseek-v3" : "deepseek-v2.5";
}

ChatFormat recognise_chat_format(std::string_view jinja_template) {
  if (jinja_template.empty()) return ChatFormat::none;
  const std::string jinja = normalised(jinja_template);
  if (contains(jinja, kUser) && contains(jinja, kAssistant)) return recognise_marks(jinja);
  const bool words = contains(jinja, "'User: '") && contains(jinja, "'Assistant: '") &&
                     contains(jinja, "'Assistant:'") && contains(jinja, "'\n\n'") && !contains(jinja, "'System: '");
  require(
      words, ErrorKind::model,
      "unknown chat template: expected the turns of DeepSeek V2 ('User: ') or of V2.5, V3 and R1 ('{}'), found '{}'",
      kUser, jinja.substr(0, jinja.find('\n')).substr(0, 80));
  return ChatFormat::v2;
}

std::vector<PromptPart> render_chat(const ChatFormat& format, const std::vector<ChatMessage>& messages,
                                    bool add_generation_prompt) {
  require(format.turns != ChatFormat::Turns::none, ErrorKind::usage, "the model has no chat template");
  Renderer renderer(format);
  renderer.write(kBos);
  if (format.turns == ChatFormat::Turns::words) {
    for (const ChatMessage& message : messages) renderer.words(message);
  } else {
    renderer.systems(messages);
    for (const ChatMessage& message : messages) renderer.marks(message);
  }
  return renderer.finish(add_generation_prompt);
}

ChatMessage parse_answer(const ChatFormat& format, std::string_view text) {
  ChatMessage answer{.role = ChatMessage::Role::assistant, .content = ""};
  if (format.turns == ChatFormat::Turns::words) take(text, " ");
  const size_t at = format.turns == ChatFormat::Turns::marks ? text.find(kCallsBegin) : std::string_view::npos;
  if (at != std::string_view::npos) {
    if (auto calls = parse_calls(text.substr(at))) {
      answer.tool_calls = std::move(*calls);
      text = text.substr(0, at);
    }
  }
  answer.content = text;
  return answer;
}

std::string tools_system_message(const std::vector<std::string>& tools_json) {
  using Json = nlohmann::ordered_json;  // keeps the order of keys
  std::string message =
      "You are a helpful Assistant.\n\n## Tools\n\n### Function\n\nYou have the following functions available:\n";
  for (const std::string& text : tools_json) {
    Json tool = Json::parse(text, nullptr, false);
    require(!tool.is_discarded() && tool.is_object(), ErrorKind::usage, "a tool is not a JSON object: {}",
            text.substr(0, 60));
    if (tool.contains("function") && tool["function"].is_object()) tool = Json(tool["function"]);
    require(tool.contains("name") && tool["name"].is_string(), ErrorKind::usage, "a tool has no name: {}",
            text.substr(0, 60));
    message += "\n- `" + tool["name"].get<std::string>() + "`:\n```json\n" + tool.dump(4) + "\n```";
  }
  return message;
}

}  // namespace hearth
