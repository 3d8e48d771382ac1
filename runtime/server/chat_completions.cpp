// POST /v1/chat/completions, as OpenAI's clients send it, with what llama.cpp, vLLM and DeepSeek's own service add.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "runtime/server/api_error.h"
#include "runtime/server/chat_messages.h"
#include "runtime/server/endpoints.h"
#include "runtime/server/form_fields.h"
#include "runtime/server/generation_fields.h"
#include "runtime/server/openai_writer.h"
#include "runtime/server/parameters.h"
#include "runtime/server/tool_fields.h"

namespace hearth::server {

namespace {

class ChatWriter : public OpenAiWriter {
 public:
  ChatWriter(std::shared_ptr<const ServedModel> model, const AnswerTask& task, StreamWishes wishes)
      : OpenAiWriter({"chatcmpl-", "chat.completion", "chat.completion.chunk"}, std::move(model), task, wishes) {}

  std::string began(std::span<const Choice> choices) override {
    std::string events;
    for (const Choice& choice : choices) events += delta(choice, {{"role", "assistant"}, {"content", ""}});
    return events;
  }
  std::string piece(const Choice& choice, const SplitText& piece, std::span<const GeneratedToken> logged) override {
    std::string events;
    if (!piece.thoughts.empty()) events += delta(choice, {{"reasoning_content", piece.thoughts}});
    if (!piece.answer.empty() || !logged.empty()) events += delta(choice, {{"content", piece.answer}}, logged);
    return events;
  }
  std::string call(const Choice& choice, const CallEvent& event) override {
    using enum CallEvent::Kind;
    const ChoiceCall& call = choice.calls.back();
    Json one = {{"index", choice.calls.size() - 1}};
    if (event.kind == begin)
      one.update(call_json(call, ""));
    else if (event.kind == arguments || call.arguments.empty())
      one["function"] = {{"arguments", event.kind == arguments ? std::string_view(event.text) : arguments_of(call)}};
    else
      return {};
    return delta(choice, {{"tool_calls", Json::array({std::move(one)})}});
  }

 private:
  static Json call_json(const ChoiceCall& call, std::string_view arguments) {
    return {{"id", call.id}, {"type", "function"}, {"function", {{"name", call.name}, {"arguments", arguments}}}};
  }
  Json whole_choice(const Choice& choice) override {
    Json message = {{"role", "assistant"}, {"content", choice.text}, {"refusal", nullptr}};
    if (choice.text.empty() && !choice.calls.empty()) message["content"] = nullptr;
    for (const ChoiceCall& call : choice.calls) message["tool_calls"].push_back(call_json(call, arguments_of(call)));
    if (!choice.thoughts.empty()) message["reasoning_content"] = choice.thoughts;
    return {{"index", choice.index},
            {"message", std::move(message)},
            {"logprobs", wants_logprobs() ? logprobs(choice.logged) : Json()},
            {"finish_reason", finish_reason(choice)}};
  }
  Json empty_choice(const Choice& choice, const Json& finish) const override {
    return {{"index", choice.index}, {"delta", Json::object()}, {"logprobs", nullptr}, {"finish_reason", finish}};
  }
  std::string delta(const Choice& choice, Json delta, std::span<const GeneratedToken> logged = {}) const {
    Json one = empty_choice(choice, nullptr);
    one["delta"] = std::move(delta);
    if (!logged.empty()) one["logprobs"] = logprobs(logged);
    return event(chunk(choice, std::move(one)));
  }
  Json logprobs(std::span<const GeneratedToken> logged) const {
    return {{"content", logprobs_json(*model().tokenizer, logged)}, {"refusal", nullptr}};
  }
};

void read_logprobs(const Fields& body, AnswerTask& task) {
  const bool wanted = body.flag("logprobs").value_or(false);
  const auto top = body.integer("top_logprobs", 0, kMaxLogprobs);
  if (top && *top > 0 && !wanted) refuse("top_logprobs", "expected `logprobs: true` beside it");
  if (wanted) task.each.n_logprobs = int(top.value_or(0));
}

}  // namespace

AskedAnswer ask_chat_completion(const Serving& serving, const Fields& body) {
  const ServedModel& model = *serving.model;
  check_parameters(body, Endpoint::chat);
  const ToolWishes tools = read_tools(body, Endpoint::chat);
  AnswerTask task;
  read_generation(body, model, task);
  read_max_tokens(body, {"max_completion_tokens", "max_tokens", "n_predict"}, task);
  read_stops(body, "stop", task);
  read_n(body, task);
  read_logprobs(body, task);
  const StreamWishes wishes = read_stream_wishes(body);
  ChatOptions options = read_chat_options(body, model);
  add_tools(tools, model, options, task);
  add_conversation(read_messages(body), options, body.flag("continue_final_message").value_or(false), serving, task);
  add_form(read_form(body, Endpoint::chat), serving, task);
  auto writer = std::make_unique<ChatWriter>(serving.model, task, wishes);
  return {std::move(task), std::move(writer)};
}

}  // namespace hearth::server
