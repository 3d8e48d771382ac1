#include "runtime/server/openai_writer.h"

#include <nlohmann/json.hpp>
#include <utility>

namespace hearth::server {

OpenAiWriter::OpenAiWriter(Words words, std::shared_ptr<const ServedModel> model, const AnswerTask& task,
                           StreamWishes wishes)
    : words_(words),
      model_(std::move(model)),
      n_(task.n),
      logprobs_(task.each.n_logprobs >= 0),
      wishes_(wishes),
      id_(random_id(words.id)),
      created_(seconds_since_1970()) {}

Json OpenAiWriter::whole(std::span<const Choice> choices) {
  Json json = head(words_.object);
  for (const Choice& choice : choices) json["choices"].push_back(whole_choice(choice));
  json["usage"] = usage_json(usage_of(choices, n_));
  add_extras(json, choices.front());
  return json;
}

std::string OpenAiWriter::reading(const Choice& choice) {
  if (!wishes_.progress) return {};
  Json json = chunk(choice, empty_choice(choice, nullptr));
  json["prompt_progress"] = progress_json(choice);
  return event(json);
}

std::string OpenAiWriter::ended(const Choice& choice) {
  Json json = chunk(choice, empty_choice(choice, finish_reason(choice)));
  add_extras(json, choice);
  return event(json);
}

std::string OpenAiWriter::completed(std::span<const Choice> choices) {
  std::string events;
  if (wishes_.usage) {
    Json json = head(words_.chunk);
    json["usage"] = usage_json(usage_of(choices, n_));
    events = event(json);
  }
  return events + "data: [DONE]\n\n";
}

Json OpenAiWriter::chunk(const Choice& of, Json choice) const {
  Json json = head(words_.chunk);
  json["choices"].push_back(std::move(choice));
  if (wishes_.running_usage)
    json["usage"] = usage_json(usage_of({&of, 1}, 1));
  else if (wishes_.usage)
    json["usage"] = nullptr;
  return json;
}

Json OpenAiWriter::head(const char* object) const {
  return {{"id", id_},
          {"object", object},
          {"created", created_},
          {"model", model_->id},
          {"system_fingerprint", model_->version},
          {"choices", Json::array()}};
}

// By the seed the same text can be had again.
void OpenAiWriter::add_extras(Json& json, const Choice& choice) {
  json["timings"] = timings_json(choice);
  json["seed"] = choice.seed;
}

}  // namespace hearth::server
