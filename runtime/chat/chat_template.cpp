#include "runtime/chat/chat_template.h"

#include <nlohmann/json.hpp>

#include "quant/error.h"
#include "runtime/chat/chat_prompt.h"
#include "runtime/chat/chat_tools.h"
#include "runtime/chat/tool_words.h"
#include "runtime/tokenizer/utf8.h"

namespace hearth {

namespace {

using Json = nlohmann::ordered_json;
using Role = ChatMessage::Role;

// For the few words with which a template is tried: a hostile one must not make opening a file slow.
constexpr jinja::Limits kProbe{.steps = 1'000'000};

const char* role_name(Role role) {
  switch (role) {
    case Role::system:
      return "system";
    case Role::user:
      return "user";
    case Role::assistant:
      return "assistant";
    case Role::tool:
      return "tool";
  }
  return "";
}

// Calls are numbered, in the nine characters that some templates insist on, and results follow their calls in order.
std::string call_id(size_t number) {
  return fmt::format("call{:05}", number % 100000);
}

std::string text_of(const Tokenizer& tokenizer, std::optional<Token> token) {
  return token ? tokenizer.bytes_of(*token, true) : "";
}

Json calls_json(const std::vector<ToolCall>& calls, bool arguments_as_text, std::vector<std::string>& called) {
  Json list = Json::array();
  for (const ToolCall& call : calls) {
    const std::string text = repair_utf8(call.arguments);
    Json arguments = arguments_as_text ? Json(text) : Json::parse(text, nullptr, false);
    if (arguments.is_discarded()) arguments = text;
    const std::string name = repair_utf8(call.name);
    list.push_back({{"id", call_id(called.size())},
                    {"type", "function"},
                    {"function", {{"name", name}, {"arguments", std::move(arguments)}}}});
    called.push_back(name);
  }
  return list;
}

// The messages as transformers gives them to templates, except that content comes first: the number of the first string
// is also that of the names of object members, which a model may have chosen.
Json messages_json(const std::vector<ChatMessage>& messages, bool null_content, bool arguments_as_text,
                   const char* thoughts_key) {
  Json list = Json::array();
  std::vector<std::string> called;
  size_t answered = 0;
  for (const ChatMessage& message : messages) {
    const bool only_calls = message.content.empty() && !message.tool_calls.empty();
    Json json;
    json["content"] = repair_utf8(message.content);
    if (only_calls && null_content && !list.empty()) json["content"] = nullptr;
    json["role"] = role_name(message.role);
    if (!message.thoughts.empty()) json[thoughts_key] = repair_utf8(message.thoughts);
    if (message.role == Role::assistant) answered = called.size();
    if (!message.tool_calls.empty()) json["tool_calls"] = calls_json(message.tool_calls, arguments_as_text, called);
    if (message.role == Role::tool) {
      json["tool_call_id"] = call_id(answered);
      if (answered < called.size()) json["name"] = called[answered];
      ++answered;
    }
    list.push_back(std::move(json));
  }
  return list;
}

// Whose each string in the messages is, in the order in which Variables::set_numbered numbers them.
void find_origins(const Json& value, std::string_view key, size_t message, std::vector<Origin>& out) {
  if (value.is_string()) {
    const bool ours = key == "role" || key == "type" || key == "id" || key == "tool_call_id";
    out.push_back(ours ? Origin{} : Origin{message, false});
  }
  if (value.is_array())
    for (const Json& item : value) find_origins(item, key, message, out);
  if (value.is_object())
    for (const auto& [name, item] : value.items())
      find_origins(item, key == "arguments" ? key : std::string_view(name), message, out);
}

bool contains(std::string_view text, std::string_view what) {
  return text.find(what) != std::string_view::npos;
}

std::string joined(const std::vector<OriginPiece>& pieces) {
  std::string text;
  for (const OriginPiece& piece : pieces) text += piece.text;
  return text;
}

}  // namespace

ChatTemplate::ChatTemplate(std::string_view jinja, std::string name, const Tokenizer& tokenizer)
    : template_(jinja, name), name_(std::move(name)), text_(jinja), tokenizer_(&tokenizer) {
  for (const char* variable : {"thinking", "enable_thinking", "reasoning_effort"})
    can_switch_thinking_ |= template_.reads(variable);
  announces_tools_ = template_.reads("tools");
  thinks_ = contains(jinja, "</think>");
  if (contains(jinja, "｜DSML｜"))
    call_format_ = CallFormat::dsml;
  else if (contains(jinja, kCallMarks[0]))
    call_format_ = CallFormat::marked;
  // Others write tags of the same name around calls of their own kind.
  const bool tagged = announces_tools_ && contains(jinja, "<tool_call>") && contains(jinja, "\"arguments\"");
  knows_calls_ = call_format_ != CallFormat::tagged || (tagged && !contains(jinja, "<function="));
  thoughts_key_ =
      contains(jinja, "reasoning_content") || !contains(jinja, "thinking") ? "reasoning_content" : "thinking";
  call_shape_ = find_call_shape();
  look_at_turns();
}

std::vector<OriginPiece> ChatTemplate::render_pieces(const std::vector<ChatMessage>& messages,
                                                     const ChatOptions& options, const CallShape& shape,
                                                     const jinja::Limits& limits) const {
  const Json list = messages_json(messages, shape.null_content, shape.arguments_as_text, thoughts_key_);
  Json tools;  // null: none
  if (announces_tools())
    for (const std::string& text : options.tools)
      tools.push_back({{"type", "function"}, {"function", parse_tool(text)}});

  constexpr int kFirst = 1;
  jinja::Variables variables;
  const int others = kFirst + variables.set_numbered("messages", list, kFirst);  // refuses what is nested too deep
  std::vector<Origin> origins;
  for (size_t i = 0; i < list.size(); ++i) find_origins(list[i], "", i, origins);
  variables.set("tools", tools, others);
  variables.set("documents", nullptr);
  variables.set("add_generation_prompt", options.add_generation_prompt);
  const std::string bos = text_of(*tokenizer_, tokenizer_->bos());
  variables.set("bos_token", bos);
  variables.set("eos_token", text_of(*tokenizer_, tokenizer_->eos()));
  variables.set("pad_token", text_of(*tokenizer_, tokenizer_->pad()));
  if (options.think) set_thinking(*options.think, variables);
  for (const auto& [name, text] : options.variables) {
    const Json value = Json::parse(text, nullptr, false);
    variables.set(name, value.is_discarded() ? Json(repair_utf8(text)) : value, others);
  }

  std::vector<OriginPiece> pieces;
  for (jinja::Piece& piece : template_.render(variables, limits)) {
    Origin origin;
    if (piece.source >= kFirst) origin = {Origin::kNoMessage, false};
    if (piece.source >= kFirst && piece.source < others) origin = origins[size_t(piece.source - kFirst)];
    pieces.push_back({std::move(piece.text), origin});
  }
  const bool has_bos = !pieces.empty() && pieces[0].origin.trusted && pieces[0].text.starts_with(bos);
  if (tokenizer_->add_bos() && !has_bos) pieces.insert(pieces.begin(), {bos, {}});
  return pieces;
}

void ChatTemplate::set_thinking(bool think, jinja::Variables& variables) const {
  variables.set("thinking", think);
  variables.set("enable_thinking", think);
  // Where there is a switch, the effort is another question.
  if (!template_.reads("thinking") && !template_.reads("enable_thinking"))
    variables.set("reasoning_effort", think ? "high" : "none");
}

// The messages as this template is given them.
std::vector<ChatMessage> ChatTemplate::with_tools(std::vector<ChatMessage> messages, const ChatOptions& options) const {
  // A template with calls of a kind that no parser knows shows those of the past in its own way.
  if (!knows_calls_ && call_shape_.shows_calls && options.tools.empty()) return messages;
  if (call_format_ != CallFormat::marked) defuse_tags(messages, call_format_);
  if (!knows_calls_) return with_tagged_tools(std::move(messages), options.tools);
  if (announces_tools() || options.tools.empty()) return messages;
  return with_announced_tools(std::move(messages), options.tools);
}

ChatPrompt ChatTemplate::render(const std::vector<ChatMessage>& messages, const ChatOptions& options) const {
  require(!options.think || can_switch_thinking_, ErrorKind::usage, "{}: cannot switch thinking on or off", name_);
  const bool tools = !options.tools.empty() || std::any_of(messages.begin(), messages.end(), [](const ChatMessage& m) {
    return m.role == Role::tool || !m.tool_calls.empty();
  });
  if (tools && stand_in_) return stand_in_->render(messages, options);
  return render_told(tools ? with_tools(messages, options) : messages, options);
}

ChatPrompt ChatTemplate::render_told(const std::vector<ChatMessage>& messages, const ChatOptions& options) const {
  const std::vector<OriginPiece> pieces = render_pieces(messages, options, call_shape_);
  std::vector<RememberedAnswer> answers;
  for (size_t i = 0; i < messages.size(); ++i)
    if (!messages[i].tokens.empty()) answers.push_back({i, messages[i].tokens, !messages[i].tool_calls.empty()});
  ChatPrompt prompt{prompt_parts(pieces, answers, *tokenizer_)};
  if (!prompt.parts.empty() && prompt.parts.back().special) {
    const std::string& end = prompt.parts.back().text;
    prompt.opens_thoughts = std::string_view(end).substr(0, end.find_last_not_of(" \t\r\n") + 1).ends_with("<think>");
  }
  return prompt;
}

// Templates disagree about messages that only call tools: R1's shows the calls only where there is no content, others
// add content to text, or write "None"; some write the arguments down as they are, some make JSON of an object. The
// first shape in which name and arguments arrive is taken: text before objects, because it stays as the model wrote it.
// A text that was encoded once more has not arrived.
ChatTemplate::CallShape ChatTemplate::find_call_shape() const {
  const std::string name = "probe_name", arguments = R"({"probe_key": "probe_value"})";
  const std::vector<ChatMessage> messages = {
      {.role = Role::user, .content = "probe"},
      {.role = Role::assistant, .content = "", .tool_calls = {{name, arguments}}},
      {.role = Role::tool, .content = "probe"}};
  for (const bool null_content : {true, false}) {
    for (const bool as_text : {true, false}) {
      if (as_text && call_format_ == CallFormat::dsml) continue;  // which has a tag for each
      const CallShape shape{null_content, as_text, true};
      try {
        const std::string text = joined(render_pieces(messages, {.add_generation_prompt = false}, shape, kProbe));
        const bool arrived = contains(text, name) && contains(text, as_text ? arguments : "probe_value");
        const bool shows_null = null_content && (contains(text, "None") || contains(text, "null"));
        if (arrived && !shows_null) return shape;
      } catch (const Error&) {
      }
    }
  }
  return {};
}

CallSyntax ChatTemplate::call_syntax(std::vector<std::string> names) const {
  return {.format = call_format_,
          .marks_are_tokens = !call_tokens().empty(),
          .fenced = contains(text_, "```json"),
          .names = std::move(names)};
}

std::vector<Token> ChatTemplate::call_tokens() const {
  std::vector<Token> tokens;
  if (call_format_ != CallFormat::marked) return tokens;
  for (const std::string_view mark : {kCallMarks[0], kCallMarks[2]})
    if (const auto token = tokenizer_->find(mark); token && tokenizer_->is_control(*token)) tokens.push_back(*token);
  return tokens;
}

void ChatTemplate::set_stand_in(std::shared_ptr<const ChatTemplate> other) {
  stand_in_ = std::move(other);
}

// Seen in conversations without calls: system messages in front, thoughts in an answer, a prompt and none.
bool ChatTemplate::writes_turns_as(const ChatTemplate& other) const {
  std::vector<ChatMessage> turns = {{.role = Role::system, .content = "probe one"},
                                    {.role = Role::system, .content = "probe two"},
                                    {.role = Role::user, .content = "probe three"},
                                    {.role = Role::assistant, .content = "probe four</think>probe five"},
                                    {.role = Role::user, .content = "probe six"}};
  if (can_switch_thinking_ != other.can_switch_thinking_) return false;
  std::vector<ChatOptions> ways = {{}, {.add_generation_prompt = false}};
  if (can_switch_thinking_) ways.push_back({.think = true});
  try {
    for (const ChatOptions& options : ways)
      if (joined(render_pieces(turns, options, {}, kProbe)) != joined(other.render_pieces(turns, options, {}, kProbe)))
        return false;
  } catch (const Error&) {
    return false;
  }
  return true;
}

// How turns end and answers begin is seen in a conversation.
void ChatTemplate::look_at_turns() {
  const std::vector<ChatMessage> messages = {{.role = Role::user, .content = "probe one"},
                                             {.role = Role::assistant, .content = "probe two"},
                                             {.role = Role::user, .content = "probe three"}};
  try {
    const std::string text = joined(render_pieces(messages, {.add_generation_prompt = false}, {}, kProbe));
    const std::string asked = joined(render_pieces({messages[0]}, {}, {}, kProbe));
    const size_t answer = text.find(messages[1].content), next = text.find(messages[2].content);
    if (answer == std::string::npos || next == std::string::npos || next < answer) return;
    const size_t answer_end = answer + messages[1].content.size();
    for (const Token token : tokenizer_->encode(text.substr(answer_end, next - answer_end), true))
      if (tokenizer_->is_control(token) && token != tokenizer_->eos()) stop_tokens_.push_back(token);
    const std::string_view before = std::string_view(text).substr(0, answer);
    if (before.starts_with(asked) && before.find_first_not_of(" \n", asked.size()) == std::string_view::npos)
      answer_lead_ = before.substr(asked.size());
  } catch (const Error&) {
    // It refuses such a conversation: eos alone ends a turn.
  }
}

}  // namespace hearth
