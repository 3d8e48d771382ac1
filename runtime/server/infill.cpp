// POST /infill: what stands between two texts, as llama.cpp's editors ask for it.
#include <nlohmann/json.hpp>
#include <utility>

#include "runtime/engine/plain_prompt.h"
#include "runtime/server/api_error.h"
#include "runtime/server/endpoints.h"
#include "runtime/server/form_fields.h"
#include "runtime/server/generation_fields.h"
#include "runtime/server/openai_shapes.h"
#include "runtime/server/parameters.h"

namespace hearth::server {

namespace {

class InfillWriter : public AnswerWriter {
 public:
  explicit InfillWriter(std::shared_ptr<const ServedModel> model) : model_(std::move(model)) {}

  Json whole(std::span<const Choice> choices) override { return last(choices.front(), choices.front().text); }

  std::string piece(const Choice&, const SplitText& piece, std::span<const GeneratedToken>) override {
    return event({{"index", 0}, {"content", piece.answer}, {"stop", false}});
  }
  std::string completed(std::span<const Choice> choices) override { return event(last(choices.front(), "")); }

 private:
  Json last(const Choice& choice, const std::string& text) const {
    const bool at_limit = finish_reason(choice) == "length", at_word = !choice.stopped_by.empty();
    return {{"index", 0},
            {"content", text},
            {"stop", true},
            {"model", model_->id},
            {"tokens_predicted", choice.n_tokens},
            {"tokens_evaluated", choice.n_prompt},
            {"tokens_cached", choice.summary.cached_tokens},
            {"stop_type", at_word    ? "word"
                          : at_limit ? "limit"
                                     : "eos"},
            {"stopping_word", choice.stopped_by},
            {"truncated", false},
            {"timings", timings_json(choice)},
            {"seed", choice.seed}};
  }

  std::shared_ptr<const ServedModel> model_;
};

// Other files in front, each under its name: what DeepSeek-Coder learned of whole repositories.
std::string other_files(const Fields& body) {
  std::string text;
  const Json* list = body.list("input_extra");
  for (size_t i = 0; list && i < list->size(); ++i) {
    const Fields file((*list)[i], path_of("input_extra", i));
    text += "#" + file.text("filename").value_or("") + "\n" + file.required_text("text") + "\n";
  }
  return text;
}

}  // namespace

AskedAnswer ask_infill(const Serving& serving, const Fields& body) {
  const ServedModel& model = *serving.model;
  check_parameters(body, Endpoint::infill);
  AnswerTask task;
  read_generation(body, model, task);
  read_max_tokens(body, {"n_predict", "max_tokens"}, task);
  read_stops(body, "stop", task);
  // `prompt` is the line that the cursor is in, as far as the cursor.
  const std::string before =
      other_files(body) + body.text("input_prefix").value_or("") + body.text("prompt").value_or("");
  const auto filled = text_to_fill(*model.tokenizer, before, body.text("input_suffix").value_or(""), false);
  if (!filled) refuse("", "the model was not made to fill in the middle: it has not all of {}", kFillMarks);
  task.prompts.push_back(*filled);
  add_form(read_form(body, Endpoint::infill), serving, task);
  return {std::move(task), std::make_unique<InfillWriter>(serving.model)};
}

}  // namespace hearth::server
