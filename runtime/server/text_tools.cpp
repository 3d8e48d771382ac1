// What is told at once of texts and tokens: /tokenize, /detokenize, /apply-template, and /v1/embeddings, which is not.
#include <nlohmann/json.hpp>

#include "runtime/engine/plain_prompt.h"
#include "runtime/server/api_error.h"
#include "runtime/server/chat_messages.h"
#include "runtime/server/endpoints.h"
#include "runtime/server/parameters.h"
#include "runtime/server/tool_fields.h"
#include "runtime/tokenizer/utf8.h"

namespace hearth::server {

namespace {

// Its text; of a token that is no whole character the bytes.
Json piece_of(const std::string& bytes) {
  if (repair_utf8(bytes) == bytes) return bytes;
  Json list = Json::array();
  for (const char byte : bytes) list.push_back(int(uint8_t(byte)));
  return list;
}

}  // namespace

Json tokenize(const Serving& serving, const Fields& body) {
  const Tokenizer& tokenizer = *serving.model->tokenizer;
  const std::string text = body.required_text("content");
  const bool special = body.flag("parse_special").value_or(true);
  const std::vector<Token> tokens = body.flag("add_special").value_or(false)
                                        ? text_to_continue(tokenizer, text, special)
                                        : tokenizer.encode(text, special);
  if (!body.flag("with_pieces").value_or(false)) return {{"tokens", tokens}};
  Json list = Json::array();
  for (const Token token : tokens)
    list.push_back({{"id", token}, {"piece", piece_of(tokenizer.bytes_of(token, true))}});
  return {{"tokens", std::move(list)}};
}

Json detokenize(const Serving& serving, const Fields& body) {
  const Tokenizer& tokenizer = *serving.model->tokenizer;
  const Json* list = body.list("tokens");
  if (!list) refuse("tokens", "expected a list of tokens, found none");
  std::string text;
  for (size_t i = 0; i < list->size(); ++i)
    text +=
        tokenizer.bytes_of(Token(integer_in((*list)[i], path_of("tokens", i), 0, int64_t(tokenizer.size()) - 1)), true);
  return {{"content", repair_utf8(text)}};
}

Json apply_template(const Serving& serving, const Fields& body) {
  const ServedModel& model = *serving.model;
  check_parameters(body, Endpoint::chat);
  AnswerTask task;
  ChatOptions options = read_chat_options(body, model);
  add_tools(read_tools(body, Endpoint::chat), model, options, task);
  const ChatPrompt prompt =
      render_conversation(read_messages(body), options, body.flag("continue_final_message").value_or(false), model);
  std::string text;
  for (const PromptPart& part : prompt.parts) text += part.text;
  return {{"prompt", text}};
}

Json refuse_embeddings(const Serving& serving, const Fields&) {
  ApiError error(501, fmt::format("{} is a model that writes text and makes no embeddings: serve a model that was "
                                  "trained for them beside it",
                                  serving.model->id));
  throw error;
}

}  // namespace hearth::server
