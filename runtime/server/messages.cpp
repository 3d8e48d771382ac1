// POST /v1/messages and /v1/messages/count_tokens: Anthropic's protocol, which Claude Code speaks.
#include "runtime/server/messages.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "runtime/server/api_error.h"
#include "runtime/server/endpoints.h"
#include "runtime/server/form_fields.h"
#include "runtime/server/generation_fields.h"
#include "runtime/server/parameters.h"
#include "runtime/server/tool_fields.h"

namespace hearth::server {

namespace {

using Role = ChatMessage::Role;

void add_line(std::string& text, const std::string& more) {
  if (!text.empty()) text += "\n";
  text += more;
}

// Every block may begin with the line about billing.
std::string system_text(const Json& system, const std::string& path) {
  if (!system.is_array()) return without_billing_line(text_of_content(system, path));
  std::string text;
  for (size_t i = 0; i < system.size(); ++i) {
    const Fields block(system[i], path_of(path, i));
    if (const std::string type = block.required_text("type"); type != "text") refuse_part(path_of(path, i), type);
    const std::string said = without_billing_line(block.required_text("text"));
    if (!said.empty()) add_line(text, said);
  }
  return text;
}

// A message with blocks of several kinds: results of calls become messages of their own, in front of the text.
class BlockReader {
 public:
  BlockReader(const Fields& message, Role role, std::vector<SaidMessage>& out)
      : message_(message), out_(out), said_{.message = {.role = role}} {}

  void read() {
    const Json* content = message_.find("content");
    const std::string path = message_.path("content");
    if (!content) refuse(path, "expected text, found none");
    if (!content->is_array()) {
      said_.message.content = text_of_content(*content, path);
      out_.push_back(std::move(said_));
      return;
    }
    if (content->empty() && said_.message.role == Role::user) refuse(path, "expected text, found none");
    for (size_t i = 0; i < content->size(); ++i) add(Fields((*content)[i], path_of(path, i)), path_of(path, i));
    if (has_text_ || said_.message.role == Role::assistant) out_.push_back(std::move(said_));
  }

 private:
  void add(const Fields& block, const std::string& path) {
    const std::string type = block.required_text("type");
    const bool by_model = said_.message.role == Role::assistant;
    if (type == "text") {
      add_line(said_.message.content, block.required_text("text"));
      has_text_ = true;
    } else if (by_model && type == "thinking") {
      add_line(said_.message.thoughts, block.required_text("thinking"));
    } else if (by_model && type == "tool_use") {
      const auto input = block.object("input");
      said_.message.tool_calls.push_back({block.required_text("name"), input ? to_text(input->json()) : "{}"});
      said_.call_ids.push_back(block.required_text("id"));
    } else if (!by_model && type == "tool_result") {
      const Json* result = block.find("content");
      out_.push_back(
          {.message = {.role = Role::tool, .content = result ? text_of_content(*result, block.path("content")) : ""},
           .answers = block.required_text("tool_use_id")});
    } else if (!by_model || type != "redacted_thinking") {  // which nobody can read
      refuse_part(path, type);
    }
  }

  const Fields& message_;
  std::vector<SaidMessage>& out_;
  SaidMessage said_;
  bool has_text_ = false;
};

// The conversation of a request, as a prompt.
void add_messages(const Fields& body, const Serving& serving, AnswerTask& task) {
  const ServedModel& model = *serving.model;
  check_parameters(body, Endpoint::messages);
  const ToolWishes tools = read_tools(body, Endpoint::messages);
  std::vector<SaidMessage> said = read_anthropic_messages(body);
  // An answer that was begun is gone on with.
  const bool begun = said.back().message.role == Role::assistant && said.back().message.tool_calls.empty();
  ChatOptions options = read_chat_options(body, model);
  add_tools(tools, model, options, task);
  add_conversation(std::move(said), options, begun, serving, task);
  add_form(read_form(body, Endpoint::messages), serving, task);
}

}  // namespace

std::vector<SaidMessage> read_anthropic_messages(const Fields& body) {
  std::vector<SaidMessage> said;
  const auto add_system = [&](const Json& content, const std::string& path) {
    const std::string text = system_text(content, path);
    if (!text.empty()) said.push_back({.message = {.role = Role::system, .content = text}});
  };
  if (const Json* system = body.find("system")) add_system(*system, "system");
  const Json* list = body.list("messages");
  if (!list || list->empty()) refuse("messages", "expected at least one message, found none");
  for (size_t i = 0; i < list->size(); ++i) {
    const Fields message((*list)[i], path_of("messages", i));
    const std::string role = message.required_text("role");
    if (role == "system" && message.has("content"))
      add_system(*message.find("content"), message.path("content"));
    else if (role == "user" || role == "assistant")
      BlockReader(message, role == "user" ? Role::user : Role::assistant, said).read();
    else
      refuse(message.path("role"), "expected user, assistant or system with a content, found \"{}\"",
             role.substr(0, 100));
  }
  if (said.empty()) refuse("messages", "expected text, found none");
  return said;
}

AskedAnswer ask_message(const Serving& serving, const Fields& body) {
  const ServedModel& model = *serving.model;
  AnswerTask task;
  read_generation(body, model, task);
  if (!body.has("max_tokens")) refuse("max_tokens", "expected an integer, found none");
  read_max_tokens(body, {"max_tokens"}, task);
  read_stops(body, "stop_sequences", task);
  add_messages(body, serving, task);
  return {std::move(task), message_writer(serving.model)};
}

Json count_message_tokens(const Serving& serving, const Fields& body) {
  AnswerTask task;
  add_messages(body, serving, task);
  return {{"input_tokens", task.prompts.front().size()}};
}

}  // namespace hearth::server
