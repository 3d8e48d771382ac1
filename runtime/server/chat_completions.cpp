// POST /v1/chat/completions, as OpenAI's clients send it, with what llama.cpp, vLLM and DeepSeek's own service add.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "runtime/server/api_error.h"
#include "runtime/server/chat_messages.h"
#include "runtime/server/endpoints.h"
#include "runtime/server/generation_fields.h"
#include "runtime/server/openai_writer.h"
#include "runtime/server/parameters.h"

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

 private:
  Json whole_choice(const Choice& choice) override {
    Json message = {{"role", "assistant"}, {"content", choice.text}, {"refusal", nullptr}};
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
    return event(chunk(std::move(one)));
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
  check_tools(body);
  AnswerTask task;
  read_generation(body, model, task);
  read_max_tokens(body, {"max_completion_tokens", "max_tokens", "n_predict"}, task);
  read_stops(body, "stop", task);
  read_n(body, task);
  read_logprobs(body, task);
  const StreamWishes wishes = read_stream_wishes(body);
  add_conversation(read_messages(body), read_chat_options(body, model),
                   body.flag("continue_final_message").value_or(false), model, task);
  auto writer = std::make_unique<ChatWriter>(serving.model, task, wishes);
  return {std::move(task), std::move(writer)};
}

}  // namespace hearth::server
