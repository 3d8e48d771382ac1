// POST /v1/completions: texts that go on, and with `suffix` what stands between two.
#include <nlohmann/json.hpp>

#include "runtime/engine/plain_prompt.h"
#include "runtime/server/api_error.h"
#include "runtime/server/endpoints.h"
#include "runtime/server/form_fields.h"
#include "runtime/server/generation_fields.h"
#include "runtime/server/openai_writer.h"
#include "runtime/server/parameters.h"

namespace hearth::server {

namespace {

size_t n_characters(std::string_view text) {
  size_t n = 0;
  for (const char byte : text) n += (byte & 0xC0) != 0x80;
  return n;
}

class CompletionWriter : public OpenAiWriter {
 public:
  CompletionWriter(std::shared_ptr<const ServedModel> model, const AnswerTask& task, StreamWishes wishes)
      : OpenAiWriter({"cmpl-", "text_completion", "text_completion"}, std::move(model), task, wishes),
        offsets_(task.n_choices(), 0) {}

  std::string piece(const Choice& choice, const SplitText& piece, std::span<const GeneratedToken> logged) override {
    Json one = empty_choice(choice, nullptr);
    one["text"] = piece.answer;
    if (!logged.empty()) one["logprobs"] = logprobs(choice.index, logged);
    return event(chunk(choice, std::move(one)));
  }

 private:
  Json whole_choice(const Choice& choice) override {
    return {{"index", choice.index},
            {"text", choice.text},
            {"logprobs", wants_logprobs() ? logprobs(choice.index, choice.logged) : Json()},
            {"finish_reason", finish_reason(choice)}};
  }
  Json empty_choice(const Choice& choice, const Json& finish) const override {
    return {{"index", choice.index}, {"text", ""}, {"logprobs", nullptr}, {"finish_reason", finish}};
  }
  // The older shape: lists side by side. Offsets count characters of the text.
  Json logprobs(size_t choice, std::span<const GeneratedToken> logged) {
    Json tokens = Json::array(), values = Json::array(), likeliest = Json::array(), offsets = Json::array();
    for (const Json& entry : logprobs_json(*model().tokenizer, logged)) {
      tokens.push_back(entry["token"]);
      values.push_back(entry["logprob"]);
      Json best = Json::object();
      for (const Json& other : entry["top_logprobs"]) best[other["token"].get<std::string>()] = other["logprob"];
      likeliest.push_back(std::move(best));
      offsets.push_back(offsets_[choice]);
      offsets_[choice] += n_characters(entry["token"].get_ref<const std::string&>());
    }
    return {{"tokens", std::move(tokens)},
            {"token_logprobs", std::move(values)},
            {"top_logprobs", std::move(likeliest)},
            {"text_offset", std::move(offsets)}};
  }

  std::vector<size_t> offsets_;  // where the next token of each choice begins
};

class PromptReader {
 public:
  PromptReader(const Fields& body, const ServedModel& model)
      : model_(model),
        suffix_(body.text("suffix")),
        // Whoever continues a text has put it together himself, often by a template: its marks are meant.
        special_(body.flag("parse_special").value_or(true)) {}

  // A text, tokens, or a list of either.
  std::vector<std::vector<Token>> read(const Json& prompt) const {
    if (!prompt.is_array() || (!prompt.empty() && prompt[0].is_number())) return {one(prompt, "prompt")};
    if (prompt.empty()) refuse("prompt", "expected at least one, found none");
    std::vector<std::vector<Token>> prompts;
    for (size_t i = 0; i < prompt.size(); ++i) prompts.push_back(one(prompt[i], path_of("prompt", i)));
    return prompts;
  }

 private:
  std::vector<Token> one(const Json& prompt, const std::string& path) const {
    if (prompt.is_array()) return tokens(prompt, path);
    if (!prompt.is_string()) refuse(path, "expected a string or a list of tokens, found {}", kind_of(prompt));
    const std::string& text = prompt.get_ref<const std::string&>();
    if (!suffix_) return non_empty(text_to_continue(*model_.tokenizer, text, special_), path);
    const auto filled = text_to_fill(*model_.tokenizer, text, *suffix_, false);
    if (!filled) refuse("suffix", "the model was not made to fill in the middle: it has not all of {}", kFillMarks);
    return *filled;
  }
  std::vector<Token> tokens(const Json& list, const std::string& path) const {
    if (suffix_) refuse("suffix", "expected a prompt of text beside it, found tokens");
    std::vector<Token> tokens;
    for (size_t i = 0; i < list.size(); ++i)
      tokens.push_back(Token(integer_in(list[i], path_of(path, i), 0, int64_t(model_.tokenizer->size()) - 1)));
    return non_empty(std::move(tokens), path);
  }
  static std::vector<Token> non_empty(std::vector<Token> tokens, const std::string& path) {
    if (tokens.empty()) refuse(path, "expected text, found an empty one");
    return tokens;
  }

  const ServedModel& model_;
  std::optional<std::string> suffix_;
  bool special_;
};

}  // namespace

AskedAnswer ask_completion(const Serving& serving, const Fields& body) {
  const ServedModel& model = *serving.model;
  check_parameters(body, Endpoint::completions);
  AnswerTask task;
  read_generation(body, model, task);
  read_max_tokens(body, {"max_tokens", "n_predict"}, task);
  read_stops(body, "stop", task);
  read_n(body, task);
  task.each.n_logprobs = int(body.integer("logprobs", 0, kMaxLogprobs).value_or(-1));
  const StreamWishes wishes = read_stream_wishes(body);
  const Json* prompt = body.find("prompt");
  if (!prompt) refuse("prompt", "expected text or tokens, found none");
  task.prompts = PromptReader(body, model).read(*prompt);
  if (task.n_choices() > kMaxChoices)
    refuse("prompt", "expected at most {} choices of all prompts, found {}", kMaxChoices, task.n_choices());
  add_form(read_form(body, Endpoint::completions), serving, task);
  auto writer = std::make_unique<CompletionWriter>(serving.model, task, wishes);
  return {std::move(task), std::move(writer)};
}

}  // namespace hearth::server
