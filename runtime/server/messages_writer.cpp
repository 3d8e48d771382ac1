// Answers as Anthropic's /v1/messages has them: a message of blocks, thoughts before the text, calls where they were
// made.
#include <nlohmann/json.hpp>
#include <utility>

#include "runtime/server/messages.h"
#include "runtime/server/openai_shapes.h"

namespace hearth::server {

namespace {

// Clients send it back with the thoughts, and some drop thoughts that have none; nobody checks it here.
constexpr const char* kSignature = "hearth";

Json usage(int64_t prompt, int64_t cached, int64_t generated, int64_t thinking) {
  return {{"input_tokens", prompt - cached},  // without those that the cache had
          {"cache_creation_input_tokens", 0},
          {"cache_read_input_tokens", cached},
          {"output_tokens", generated},
          {"output_tokens_details", {{"thinking_tokens", thinking}}}};
}

const char* stop_reason(const Choice& choice) {
  switch (choice.summary.reason) {
    case StopReason::max_tokens:
      return "max_tokens";
    case StopReason::context_full:
      return "model_context_window_exceeded";
    case StopReason::stop_string:
      if (!choice.stopped_by.empty()) return "stop_sequence";
      [[fallthrough]];
    default:
      return choice.calls.empty() ? "end_turn" : "tool_use";
  }
}

// Arguments that were cut short are nobody's to act on.
Json input_of(const ChoiceCall& call) {
  Json input = Json::parse(arguments_of(call), nullptr, false);
  return input.is_object() ? input : Json::object();
}

Json stop_sequence(const Choice& choice) {
  return choice.stopped_by.empty() ? Json() : Json(choice.stopped_by);
}

class MessageWriter : public AnswerWriter {
 public:
  explicit MessageWriter(std::shared_ptr<const ServedModel> model) : model_(std::move(model)) {}

  Json whole(std::span<const Choice> choices) override {
    const Choice& choice = choices.front();
    Json json = head();
    if (!choice.thoughts.empty())
      json["content"].push_back({{"type", "thinking"}, {"thinking", choice.thoughts}, {"signature", kSignature}});
    each_part(
        choice,
        [&](std::string_view text) {
          json["content"].push_back({{"type", "text"}, {"text", text}});
        },
        [&](const ChoiceCall& call) { json["content"].push_back(tool_use(call, input_of(call))); });
    json["stop_reason"] = stop_reason(choice);
    json["stop_sequence"] = stop_sequence(choice);
    json["usage"] = usage(choice.n_prompt, choice.summary.cached_tokens, choice.n_tokens, choice.n_thinking);
    json["timings"] = timings_json(choice);
    json["seed"] = choice.seed;
    return json;
  }

  // Begins when it is known how much of the prompt the cache has; pings may come before.
  std::string reading(const Choice& choice) override { return start(choice); }

  std::string piece(const Choice& choice, const SplitText& piece, std::span<const GeneratedToken>) override {
    std::string events = start(choice);
    if (!piece.thoughts.empty()) {
      events += into(Block::thinking, {{"type", "thinking"}, {"thinking", ""}, {"signature", ""}});
      events += delta({{"type", "thinking_delta"}, {"thinking", piece.thoughts}});
    }
    if (!piece.answer.empty()) {
      events += into(Block::text, {{"type", "text"}, {"text", ""}});
      events += delta({{"type", "text_delta"}, {"text", piece.answer}});
    }
    return events;
  }

  std::string call(const Choice& choice, const CallEvent& event) override {
    using enum CallEvent::Kind;
    std::string events = start(choice);
    if (event.kind == begin) events += into(Block::call, tool_use(choice.calls.back(), Json::object()));
    if (event.kind == arguments) events += delta({{"type", "input_json_delta"}, {"partial_json", event.text}});
    if (event.kind == end) events += into(Block::none);
    return events;
  }

  std::string ended(const Choice& choice) override {
    const Json message_delta = {
        {"type", "message_delta"},
        {"delta", {{"stop_reason", stop_reason(choice)}, {"stop_sequence", stop_sequence(choice)}}},
        {"usage", usage(choice.n_prompt, choice.summary.cached_tokens, choice.n_tokens, choice.n_thinking)},
        {"timings", timings_json(choice)},
        {"seed", choice.seed}};
    std::string events = start(choice);
    events += into(Block::none);
    return events + event("message_delta", message_delta);
  }
  std::string completed(std::span<const Choice>) override { return event("message_stop", {{"type", "message_stop"}}); }
  std::string ping() override { return event("ping", {{"type", "ping"}}); }
  Dialect dialect() const override { return Dialect::anthropic; }

 private:
  enum class Block { none, thinking, text, call };

  static Json tool_use(const ChoiceCall& call, Json input) {
    return {{"type", "tool_use"}, {"id", call.id}, {"name", call.name}, {"input", std::move(input)}};
  }

  Json head() const {
    return {{"id", id_},
            {"type", "message"},
            {"role", "assistant"},
            {"model", model_->id},
            {"content", Json::array()},
            {"stop_reason", nullptr},
            {"stop_sequence", nullptr}};
  }
  std::string start(const Choice& choice) {
    if (std::exchange(started_, true)) return {};
    Json message = head();
    message["usage"] = usage(choice.n_prompt, choice.reading.cached, 0, 0);
    return event("message_start", {{"type", "message_start"}, {"message", std::move(message)}});
  }
  // Ends the block that is open unless it is this one, and begins this one.
  std::string into(Block block, const Json& begun = {}) {
    if (block == block_) return {};
    std::string events;
    if (block_ == Block::thinking) events = delta({{"type", "signature_delta"}, {"signature", kSignature}});
    if (block_ != Block::none)
      events += event("content_block_stop", {{"type", "content_block_stop"}, {"index", index_++}});
    block_ = block;
    if (block == Block::none) return events;
    return events +
           event("content_block_start", {{"type", "content_block_start"}, {"index", index_}, {"content_block", begun}});
  }
  std::string delta(Json what) const {
    return event("content_block_delta",
                 {{"type", "content_block_delta"}, {"index", index_}, {"delta", std::move(what)}});
  }

  std::shared_ptr<const ServedModel> model_;
  std::string id_ = random_id("msg_");
  bool started_ = false;
  Block block_ = Block::none;
  int index_ = 0;  // of the block that is open, or of the next
};

}  // namespace

std::unique_ptr<AnswerWriter> message_writer(std::shared_ptr<const ServedModel> model) {
  return std::make_unique<MessageWriter>(std::move(model));
}

}  // namespace hearth::server
