// POST /v1/responses, without memory: the whole conversation comes with every request. Codex speaks nothing else.
#include "runtime/server/responses.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "runtime/server/api_error.h"
#include "runtime/server/chat_messages.h"
#include "runtime/server/endpoints.h"
#include "runtime/server/form_fields.h"
#include "runtime/server/generation_fields.h"
#include "runtime/server/parameters.h"
#include "runtime/server/tool_fields.h"

namespace hearth::server {

namespace {

using Role = ChatMessage::Role;

const std::vector<std::string_view> kTextTypes = {"input_text", "output_text", "text"};

// The input's items one after another; instructions gather in front, as templates know no other place.
class InputReader {
 public:
  std::vector<SaidMessage> read(const Fields& body) {
    system_ = without_billing_line(body.text("instructions").value_or(""));
    const Json* input = body.find("input");
    if (!input) refuse("input", "expected a string or a list of items, found none");
    if (input->is_string())
      said_.push_back({.message = {.role = Role::user, .content = *input}});
    else
      for (size_t i = 0; i < body.list("input")->size(); ++i) add(Fields((*input)[i], path_of("input", i)));
    if (said_.empty()) refuse("input", "expected at least one message, found none");
    if (!system_.empty())
      said_.insert(said_.begin(), SaidMessage{.message = {.role = Role::system, .content = system_}});
    return std::move(said_);
  }

 private:
  void add(const Fields& item) {
    const std::string type = item.text("type").value_or(item.has("role") ? "message" : "item_reference");
    if (type == "message")
      add_message(item);
    else if (type == "reasoning")
      add_thoughts(item);
    else if (type == "function_call")
      add_call(item);
    else if (type == "function_call_output")
      add_result(item);
    else
      refuse(item.path("type"), "expected message, reasoning, function_call or function_call_output, found \"{}\"",
             type.substr(0, 100));
  }

  void add_message(const Fields& item) {
    const std::string role = item.required_text("role");
    const Json* content = item.find("content");
    if (!content) refuse(item.path("content"), "expected text, found none");
    const std::string text = text_of_content(*content, item.path("content"), kTextTypes);
    if (role == "system" || role == "developer") {
      const std::string part = without_billing_line(text);
      if (!system_.empty() && !part.empty()) system_ += "\n\n";
      system_ += part;
    } else if (role == "user") {
      said_.push_back({.message = {.role = Role::user, .content = text}});
    } else if (role == "assistant" && thoughts_.empty() && !said_.empty() && !said_.back().call_ids.empty()) {
      said_.back().message.content += text;  // what it said behind a call: results follow
    } else if (role == "assistant") {
      said_.push_back(
          {.message = {.role = Role::assistant, .content = text, .thoughts = std::exchange(thoughts_, {})}});
    } else {
      refuse(item.path("role"), "expected system, developer, user or assistant, found \"{}\"", role.substr(0, 100));
    }
  }

  // Of the next message or call.
  void add_thoughts(const Fields& item) {
    const char* name = item.has("content") ? "content" : "summary";
    if (item.has(name))
      thoughts_ = text_of_content(*item.find(name), item.path(name), {"reasoning_text", "summary_text", "text"});
  }

  void add_call(const Fields& item) {
    if (said_.empty() || said_.back().message.role != Role::assistant || !thoughts_.empty())
      said_.push_back({.message = {.role = Role::assistant, .thoughts = std::exchange(thoughts_, {})}});
    said_.back().message.tool_calls.push_back({item.required_text("name"), item.text("arguments").value_or("{}")});
    said_.back().call_ids.push_back(item.required_text("call_id"));
  }

  void add_result(const Fields& item) {
    const Json* output = item.find("output");
    if (!output) refuse(item.path("output"), "expected text, found none");
    said_.push_back(
        {.message = {.role = Role::tool, .content = text_of_content(*output, item.path("output"), kTextTypes)},
         .answers = item.required_text("call_id")});
  }

  std::vector<SaidMessage> said_;
  std::string system_, thoughts_;
};

ChatOptions read_thinking(const Fields& body, const ServedModel& model) {
  const auto reasoning = body.object("reasoning");
  const std::string effort = reasoning ? reasoning->text("effort").value_or("") : "";
  ChatOptions options;
  if (!effort.empty()) options.variables["reasoning_effort"] = to_text(effort);
  if (model.chat && model.chat->can_switch_thinking()) options.think = thinking_for_effort(effort);
  return options;
}

Json what_was_said(const Fields& body, const AnswerTask& task) {
  const auto or_null = [&](const char* name) { return body.has(name) ? *body.find(name) : Json(); };
  return {
      {"instructions", or_null("instructions")},
      {"max_output_tokens", task.each.max_tokens < 0 ? Json() : Json(task.each.max_tokens)},
      {"metadata", body.has("metadata") ? *body.find("metadata") : Json::object()},
      {"reasoning", body.has("reasoning") ? *body.find("reasoning") : Json{{"effort", nullptr}, {"summary", nullptr}}},
      {"parallel_tool_calls", body.flag("parallel_tool_calls").value_or(true)},
      {"tool_choice", body.has("tool_choice") ? *body.find("tool_choice") : Json("auto")},
      {"tools", body.has("tools") ? *body.find("tools") : Json::array()},
      {"temperature", task.each.sampling.temperature},
      {"top_p", task.each.sampling.top_p}};
}

}  // namespace

AskedAnswer ask_response(const Serving& serving, const Fields& body) {
  const ServedModel& model = *serving.model;
  check_parameters(body, Endpoint::responses);
  const ToolWishes tools = read_tools(body, Endpoint::responses);
  AnswerTask task;
  read_generation(body, model, task);
  read_max_tokens(body, {"max_output_tokens"}, task);
  ChatOptions options = read_thinking(body, model);
  add_tools(tools, model, options, task);
  add_conversation(InputReader().read(body), options, false, serving, task);
  add_form(read_form(body, Endpoint::responses), serving, task);
  Json said = what_was_said(body, task);
  return {std::move(task), response_writer(serving.model, std::move(said))};
}

}  // namespace hearth::server
