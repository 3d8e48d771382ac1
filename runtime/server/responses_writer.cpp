// Answers as OpenAI's /v1/responses has them: a list of items, thoughts before the message, each call by itself, and as
// a stream events that are numbered.
#include <nlohmann/json.hpp>
#include <utility>

#include "runtime/server/openai_shapes.h"
#include "runtime/server/responses.h"

namespace hearth::server {

namespace {

Json usage(const Choice& choice) {
  return {{"input_tokens", choice.n_prompt},
          {"input_tokens_details", {{"cached_tokens", choice.summary.cached_tokens}, {"cache_write_tokens", 0}}},
          {"output_tokens", choice.n_tokens},
          {"output_tokens_details", {{"reasoning_tokens", choice.n_thinking}}},
          {"total_tokens", choice.n_prompt + choice.n_tokens}};
}

bool is_cut_short(const Choice& choice) {
  return finish_reason(choice) == "length";
}

class ResponseWriter : public AnswerWriter {
 public:
  ResponseWriter(std::shared_ptr<const ServedModel> model, Json said)
      : model_(std::move(model)), said_(std::move(said)) {}

  Json whole(std::span<const Choice> choices) override { return finished(choices.front()); }

  std::string began(std::span<const Choice>) override {
    const Json begun = {{"response", response("in_progress")}};
    std::string events = numbered("response.created", begun);
    return events += numbered("response.in_progress", begun);
  }

  std::string piece(const Choice& choice, const SplitText& piece, std::span<const GeneratedToken>) override {
    std::string events;
    if (!piece.thoughts.empty()) {
      events += into(Item::thoughts, choice);
      events += of_part("response.reasoning_text.delta", {{"delta", piece.thoughts}});
    }
    if (!piece.answer.empty()) {
      events += into(Item::message, choice);
      events += of_part("response.output_text.delta", {{"delta", piece.answer}, {"logprobs", Json::array()}});
      said_bytes_ += piece.answer.size();
    }
    return events;
  }

  std::string call(const Choice& choice, const CallEvent& event) override {
    using enum CallEvent::Kind;
    const ChoiceCall& call = choice.calls.back();
    if (event.kind == begin) {
      std::string events = into(Item::none, choice);
      Json begun = call_item(call, "in_progress");
      begun["arguments"] = "";
      return events += of_item("response.output_item.added", {{"item", std::move(begun)}});
    }
    const Json id = "fc_" + call.id;
    if (event.kind == arguments)
      return of_item("response.function_call_arguments.delta", {{"item_id", id}, {"delta", event.text}});
    std::string events = of_item("response.function_call_arguments.done",
                                 {{"item_id", id}, {"name", call.name}, {"arguments", arguments_of(call)}});
    events += of_item("response.output_item.done", {{"item", call_item(call, call_status(choice, call))}});
    ++output_index_;
    return events;
  }

  std::string ended(const Choice& choice) override { return into(Item::none, choice); }

  std::string completed(std::span<const Choice> choices) override {
    const Choice& choice = choices.front();
    return numbered(is_cut_short(choice) ? "response.incomplete" : "response.completed",
                    {{"response", finished(choice)}});
  }

  std::string failed(const ApiError& error) override {
    Json json = response("failed");
    json["error"] = {{"code", "server_error"}, {"message", error.what()}};
    return numbered("response.failed", {{"response", std::move(json)}});
  }

 private:
  enum class Item { none, thoughts, message };  // a call opens and closes its own

  Json response(const char* status) const {
    Json json = {{"id", id_},
                 {"object", "response"},
                 {"created_at", created_},
                 {"status", status},
                 {"background", false},
                 {"error", nullptr},
                 {"incomplete_details", nullptr},
                 {"model", model_->id},
                 {"output", Json::array()},
                 {"parallel_tool_calls", true},
                 {"previous_response_id", nullptr},
                 {"store", false},
                 {"text", {{"format", {{"type", "text"}}}}},
                 {"tool_choice", "auto"},
                 {"tools", Json::array()},
                 {"truncation", "disabled"},
                 {"usage", nullptr}};
    json.update(said_);
    return json;
  }

  Json finished(const Choice& choice) {
    const bool cut = is_cut_short(choice);
    Json json = response(cut ? "incomplete" : "completed");
    Json& output = json["output"];
    if (cut) json["incomplete_details"] = {{"reason", "max_output_tokens"}};
    if (!choice.thoughts.empty()) output.push_back(thoughts_item(choice.thoughts));
    size_t n_messages = 0;
    each_part(
        choice, [&](std::string_view text) { output.push_back(message_item(message_id(n_messages++), text)); },
        [&](const ChoiceCall& call) { output.push_back(call_item(call, call_status(choice, call))); });
    // What is cut short is the last item.
    if (cut && !output.empty() && output.back()["type"] != "function_call") output.back()["status"] = "incomplete";
    json["usage"] = usage(choice);
    json["timings"] = timings_json(choice);
    json["seed"] = choice.seed;
    return json;
  }

  Json thoughts_item(std::string_view thoughts) const {
    return {{"id", thoughts_id_},
            {"type", "reasoning"},
            {"status", "completed"},
            {"summary", Json::array()},
            {"content", Json::array({{{"type", "reasoning_text"}, {"text", thoughts}}})}};
  }
  static Json message_item(const std::string& id, std::string_view text) {
    return {{"id", id},
            {"type", "message"},
            {"role", "assistant"},
            {"status", "completed"},
            {"content", Json::array({text_part(text)})}};
  }
  static Json text_part(std::string_view text) {
    return {{"type", "output_text"}, {"text", text}, {"annotations", Json::array()}, {"logprobs", Json::array()}};
  }
  static Json call_item(const ChoiceCall& call, const char* status) {
    return {{"id", "fc_" + call.id}, {"type", "function_call"}, {"status", status},
            {"call_id", call.id},    {"name", call.name},       {"arguments", arguments_of(call)}};
  }
  static const char* call_status(const Choice& choice, const ChoiceCall& call) {
    return is_cut_short(choice) && !Json::accept(arguments_of(call)) ? "incomplete" : "completed";
  }
  // There may be a message before calls and another behind.
  const std::string& message_id(size_t i) {
    while (message_ids_.size() <= i) message_ids_.push_back(random_id("msg_"));
    return message_ids_[i];
  }

  // Ends the item that is open unless it is this one, and begins this one.
  std::string into(Item item, const Choice& choice) {
    if (item == item_) return {};
    std::string events = close(choice);
    item_ = item;
    if (item == Item::none) return events;
    if (item == Item::message) text_begin_ = said_bytes_;
    const std::string& id = item_id_ = item == Item::thoughts ? thoughts_id_ : message_id(n_messages_);
    n_messages_ += item == Item::message;
    Json begun = {{"id", id}, {"type", item == Item::thoughts ? "reasoning" : "message"}, {"status", "in_progress"}};
    if (item == Item::thoughts) begun["summary"] = Json::array();
    if (item == Item::message) begun["role"] = "assistant";
    begun["content"] = Json::array();
    events += of_item("response.output_item.added", {{"item", std::move(begun)}});
    const Json part = item == Item::message ? text_part("") : Json{{"type", "reasoning_text"}, {"text", ""}};
    return events += of_part("response.content_part.added", {{"part", part}});
  }
  std::string close(const Choice& choice) {
    if (item_ == Item::none) return {};
    const bool message = item_ == Item::message;
    const std::string_view text = message ? std::string_view(choice.text).substr(text_begin_) : choice.thoughts;
    Json item = message ? message_item(item_id_, text) : thoughts_item(text);
    if (choice.over && is_cut_short(choice)) item["status"] = "incomplete";
    Json done = {{"text", text}};
    if (message) done["logprobs"] = Json::array();
    std::string events = of_part(message ? "response.output_text.done" : "response.reasoning_text.done", done);
    events += of_part("response.content_part.done", {{"part", item["content"][0]}});
    events += of_item("response.output_item.done", {{"item", std::move(item)}});
    ++output_index_;
    return events;
  }

  std::string of_item(const char* type, Json more) {
    more["output_index"] = output_index_;
    return numbered(type, more);
  }
  // An event about the only part of the item that is open.
  std::string of_part(const char* type, const Json& more) {
    Json json = {{"item_id", item_id_}, {"output_index", output_index_}, {"content_index", 0}};
    json.update(more);
    return numbered(type, json);
  }
  std::string numbered(const char* type, const Json& more) {
    Json json = {{"type", type}, {"sequence_number", sequence_number_++}};
    json.update(more);
    return event(type, json);
  }

  std::shared_ptr<const ServedModel> model_;
  Json said_;
  std::string id_ = random_id("resp_"), thoughts_id_ = random_id("rs_"), item_id_;
  std::vector<std::string> message_ids_;
  size_t n_messages_ = 0;                   // begun
  size_t said_bytes_ = 0, text_begin_ = 0;  // of choice.text: all so far; where the open message begins
  int64_t created_ = seconds_since_1970();
  int sequence_number_ = 0, output_index_ = 0;
  Item item_ = Item::none;  // the one that is open
};

}  // namespace

std::unique_ptr<AnswerWriter> response_writer(std::shared_ptr<const ServedModel> model, Json said) {
  return std::make_unique<ResponseWriter>(std::move(model), std::move(said));
}

}  // namespace hearth::server
