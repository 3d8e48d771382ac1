#include "runtime/engine/plain_prompt.h"

namespace hearth {

namespace {

void begin_with_bos(const Tokenizer& tokenizer, std::vector<Token>& tokens) {
  if (!tokenizer.add_bos() || !tokenizer.bos()) return;
  if (tokens.empty() || tokens.front() != *tokenizer.bos()) tokens.insert(tokens.begin(), *tokenizer.bos());
}

}  // namespace

std::vector<Token> text_to_continue(const Tokenizer& tokenizer, std::string_view text, bool special) {
  std::vector<Token> tokens = tokenizer.encode(text, special);
  begin_with_bos(tokenizer, tokens);
  return tokens;
}

std::optional<std::vector<Token>> text_to_fill(const Tokenizer& tokenizer, std::string_view before,
                                               std::string_view after, bool special) {
  const auto begin = tokenizer.find("<｜fim▁begin｜>"), hole = tokenizer.find("<｜fim▁hole｜>"),
             end = tokenizer.find("<｜fim▁end｜>");
  if (!begin || !hole || !end) return std::nullopt;
  std::vector<Token> tokens;
  const auto add = [&](Token mark, std::string_view text) {
    tokens.push_back(mark);
    const std::vector<Token> encoded = tokenizer.encode(text, special);
    tokens.insert(tokens.end(), encoded.begin(), encoded.end());
  };
  add(*begin, before);
  add(*hole, after);
  add(*end, "");
  begin_with_bos(tokenizer, tokens);
  return tokens;
}

}  // namespace hearth
