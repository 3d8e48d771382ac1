// Answers as chat completions and completions have them: they differ in what a choice looks like.
#pragma once

#include <memory>
#include <string>

#include "runtime/server/openai_shapes.h"

namespace hearth::server {

class OpenAiWriter : public AnswerWriter {
 public:
  struct Words {
    const char *id, *object, *chunk;  // "chatcmpl-", "chat.completion", "chat.completion.chunk"
  };

  OpenAiWriter(Words words, std::shared_ptr<const ServedModel> model, const AnswerTask& task, StreamWishes wishes);

  Json whole(std::span<const Choice> choices) override;
  std::string reading(const Choice& choice) override;
  std::string ended(const Choice& choice) override;
  std::string completed(std::span<const Choice> choices) override;

 protected:
  // One of the choices: all of it; and of a piece of a stream that holds nothing new. finish: null, or a reason.
  virtual Json whole_choice(const Choice& choice) = 0;
  virtual Json empty_choice(const Choice& choice, const Json& finish) const = 0;

  Json chunk(const Choice& of, Json choice) const;
  const ServedModel& model() const { return *model_; }
  bool wants_logprobs() const { return logprobs_; }

 private:
  Json head(const char* object) const;
  static void add_extras(Json& json, const Choice& choice);

  Words words_;
  std::shared_ptr<const ServedModel> model_;
  int n_;
  bool logprobs_;
  StreamWishes wishes_;
  std::string id_;
  int64_t created_;
};

}  // namespace hearth::server
