#include "runtime/engine/plain_prompt.h"

#include <doctest/doctest.h>

#include "tests/runtime/tokenizer/vocabulary.h"

using namespace hearth;
using namespace hearth::test;

namespace {

struct FillVocabulary : SmallVocabulary {
  FillVocabulary() {
    for (const char* mark : {"<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"}) add(mark, TokenType::control);
  }
};

}  // namespace

TEST_CASE("a text to continue begins with BOS, once; control tokens only where they are asked for") {
  const Tokenizer tokenizer(SmallVocabulary().metadata());
  const std::vector<Token> plain = text_to_continue(tokenizer, "ab", false);
  REQUIRE(plain.size() >= 2);
  CHECK(plain.front() == tokenizer.bos());
  CHECK(tokenizer.decode(plain, false) == "ab");
  const std::string marked = "<｜begin▁of▁sentence｜>ab";
  CHECK(text_to_continue(tokenizer, marked, true) == plain);
  CHECK(text_to_continue(tokenizer, marked, false).size() > plain.size());
  CHECK(text_to_continue(tokenizer, "", false) == std::vector<Token>{*tokenizer.bos()});
}

TEST_CASE("a text to fill: marks around two texts, in a vocabulary that has them") {
  const Tokenizer tokenizer(FillVocabulary().metadata());
  const auto tokens = text_to_fill(tokenizer, "a<｜fim▁hole｜>", "bc", false);
  REQUIRE(tokens);
  CHECK(tokens->front() == tokenizer.bos());
  CHECK(tokens->back() == tokenizer.find("<｜fim▁end｜>"));
  CHECK(tokenizer.decode(*tokens, true) ==
        "<｜begin▁of▁sentence｜><｜fim▁begin｜>a<｜fim▁hole｜><｜fim▁hole｜>bc<｜fim▁end｜>");
  CHECK(std::ranges::count(*tokens, *tokenizer.find("<｜fim▁hole｜>")) == 1);  // the first is text
  const auto special = text_to_fill(tokenizer, "a<｜fim▁hole｜>", "bc", true);
  CHECK(std::ranges::count(*special, *tokenizer.find("<｜fim▁hole｜>")) == 2);
  CHECK(!text_to_fill(Tokenizer(SmallVocabulary().metadata()), "a", "b", false));
}
