#include "runtime/server/chat_messages.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "runtime/server/api_error.h"
#include "runtime/server/call_memory.h"

namespace hearth::server {

namespace {

using Role = ChatMessage::Role;

std::vector<ToolCall> read_calls(const Fields& message, std::vector<std::string>& ids) {
  std::vector<ToolCall> calls;
  const Json* list = message.list("tool_calls");
  for (size_t i = 0; list && i < list->size(); ++i) {
    const Fields call((*list)[i], path_of(message.path("tool_calls"), i));
    const auto function = call.object("function");
    if (!function) refuse(call.path("function"), "expected an object, found none");
    const Json* arguments = function->find("arguments");
    calls.push_back({function->required_text("name"), arguments && arguments->is_object()
                                                          ? to_text(*arguments)
                                                          : function->text("arguments").value_or("{}")});
    ids.push_back(call.text("id").value_or(""));
  }
  return calls;
}

SaidMessage read_message(const Fields& fields) {
  const std::string role = fields.required_text("role");
  SaidMessage said;
  ChatMessage& message = said.message;
  if (role == "system" || role == "developer")
    message.role = Role::system;
  else if (role == "user")
    message.role = Role::user;
  else if (role == "assistant")
    message.role = Role::assistant;
  else if (role == "tool")
    message.role = Role::tool;
  else
    refuse(fields.path("role"), "expected system, developer, user, assistant or tool, found \"{}\"",
           role.substr(0, 100));

  const Json* content = fields.find("content");
  if (content) message.content = text_of_content(*content, fields.path("content"));
  if (!content && message.role != Role::assistant) refuse(fields.path("content"), "expected text, found none");
  if (message.role == Role::system) message.content = without_billing_line(std::move(message.content));
  if (message.role == Role::assistant) {
    message.thoughts = fields.text("reasoning_content").value_or(fields.text("reasoning").value_or(""));
    message.tool_calls = read_calls(fields, said.call_ids);
  }
  if (message.role == Role::tool) said.answers = fields.text("tool_call_id").value_or("");
  return said;
}

// Sorts the results that follow a message with calls; others are nobody's.
void order_results(std::vector<SaidMessage>& said) {
  for (size_t i = 0; i < said.size(); ++i) {
    const std::vector<std::string>& ids = said[i].call_ids;
    const bool after_result = i > 0 && said[i - 1].message.role == Role::tool;
    if (said[i].message.role == Role::tool && !after_result && (i == 0 || said[i - 1].call_ids.empty()))
      refuse("messages", "expected a call in front of a tool's result, found none: {}",
             to_text(said[i].answers.substr(0, 100)));
    size_t end = i + 1;
    while (!ids.empty() && end < said.size() && said[end].message.role == Role::tool) ++end;
    std::stable_sort(said.begin() + ptrdiff_t(i) + 1, said.begin() + ptrdiff_t(end),
                     [&](const SaidMessage& a, const SaidMessage& b) {
                       return std::ranges::find(ids, a.answers) < std::ranges::find(ids, b.answers);
                     });
  }
}

// What the model thought before the answer that it goes on with, or what it goes on thinking. The line ends around the
// closing mark are as those around the one that the prompt ends with.
void add_thoughts(const std::string& thoughts, bool answered, ChatPrompt& prompt) {
  if (thoughts.empty())
    refuse("messages",
           "the last one is the assistant's, but this model thinks before it answers: expected its thoughts as "
           "`reasoning_content`, found none");
  const bool on_lines = prompt.parts.back().text.ends_with('\n');
  prompt.parts.push_back({thoughts, false});
  if (answered) prompt.parts.push_back({on_lines ? "\n</think>\n\n" : "</think>", true});
  prompt.opens_thoughts = !answered;
}

}  // namespace

void refuse_part(const std::string& path, const std::string& type) {
  refuse(path + ".type", "expected text, found {}: the model reads no images, sound or files",
         to_text(type.substr(0, 100)));
}

std::string text_of_content(const Json& content, const std::string& path,
                            const std::vector<std::string_view>& text_types) {
  if (content.is_string()) return content;
  if (!content.is_array()) refuse(path, "expected a string or a list of parts, found {}", kind_of(content));
  std::string text;
  for (size_t i = 0; i < content.size(); ++i) {
    const Fields part(content[i], path_of(path, i));
    const std::string type = part.required_text("type");
    if (std::ranges::find(text_types, type) == text_types.end()) refuse_part(path_of(path, i), type);
    if (i > 0) text += "\n";
    text += part.required_text("text");
  }
  return text;
}

std::string without_billing_line(std::string system) {
  if (!system.starts_with("x-anthropic-billing-header:")) return system;
  const size_t end = system.find('\n');
  return end == std::string::npos ? "" : system.substr(end + 1);
}

std::vector<SaidMessage> read_messages(const Fields& body) {
  const Json* list = body.list("messages");
  if (!list || list->empty()) refuse("messages", "expected at least one message, found none");
  std::vector<SaidMessage> said;
  for (size_t i = 0; i < list->size(); ++i) said.push_back(read_message(Fields((*list)[i], path_of("messages", i))));
  return said;
}

ChatPrompt render_conversation(std::vector<SaidMessage> said, const ChatOptions& options, bool continue_last,
                               const ServedModel& model) {
  if (!model.chat) refuse("", "the model has no chat template: /v1/completions continues a text");
  std::string begun, thoughts;
  if (continue_last) {
    if (said.empty() || said.back().message.role != Role::assistant || !said.back().message.tool_calls.empty())
      refuse("messages", "expected an assistant's text as the last message, which the model is to go on with");
    begun = said.back().message.content;
    thoughts = said.back().message.thoughts;
    said.pop_back();
  }
  order_results(said);
  std::vector<ChatMessage> messages;
  for (SaidMessage& one : said) messages.push_back(std::move(one.message));
  ChatPrompt prompt;
  try {
    prompt = model.chat->render(messages, options);
  } catch (const Error& error) {  // of the template too: it depends on the conversation
    refuse("messages", "{}", error.what());
  }
  if (continue_last) {
    if (prompt.opens_thoughts)
      add_thoughts(thoughts, !begun.empty(), prompt);
    else
      prompt.parts.push_back({model.chat->answer_lead(), false});
    prompt.parts.push_back({begun, false});
  }
  return prompt;
}

void add_conversation(std::vector<SaidMessage> said, const ChatOptions& options, bool continue_last,
                      const Serving& serving, AnswerTask& task) {
  const ServedModel& model = *serving.model;
  serving.memory->restore(said);
  const ChatPrompt prompt = render_conversation(std::move(said), options, continue_last, model);
  task.prompts.push_back(model.tokenizer->encode(prompt.parts));
  task.chat = true;
  task.opens_thoughts = prompt.opens_thoughts;
  if (!continue_last) task.lead = model.chat->answer_lead();
  const std::vector<Token>& stops = model.chat->stop_tokens();
  task.each.stop_tokens.insert(task.each.stop_tokens.end(), stops.begin(), stops.end());
}

std::optional<bool> thinking_for_effort(std::string_view effort) {
  if (effort.empty()) return std::nullopt;
  return effort != "none" && effort != "minimal";
}

// In the order in which they count: the template's own variables, a flag as vLLM has it, an object as DeepSeek's
// service and Anthropic's have it, an effort.
ChatOptions read_chat_options(const Fields& body, const ServedModel& model) {
  static const std::set<std::string> ours = {"messages",  "tools",     "documents", "add_generation_prompt",
                                             "bos_token", "eos_token", "pad_token"};
  ChatOptions options;
  std::optional<bool> think = thinking_for_effort(body.text("reasoning_effort").value_or(""));
  if (const auto thinking = body.object("thinking"))
    if (const std::string type = thinking->text("type").value_or(""); type != "adaptive") think = type == "enabled";
  if (const auto flag = body.flag("enable_thinking")) think = flag;
  if (const auto effort = body.text("reasoning_effort")) options.variables["reasoning_effort"] = to_text(*effort);
  if (const auto variables = body.object("chat_template_kwargs")) {
    for (const auto& [name, value] : variables->json().items()) {
      if (ours.contains(name)) refuse(variables->path(name), "is the server's to say");
      if (name == "thinking" || name == "enable_thinking")
        think = variables->flag(name);
      else
        options.variables[name] = to_text(value);
    }
  }
  // Where the template has no switch the model does as it does: clients send efforts as a matter of course.
  if (model.chat && model.chat->can_switch_thinking()) options.think = think;
  return options;
}

}  // namespace hearth::server
