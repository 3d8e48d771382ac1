// /tokenize, /detokenize, /apply-template, /v1/embeddings.
#include "tests/runtime/server/bed.h"

using namespace hearth;
using namespace hearth::test;

TEST_CASE("tokenize and detokenize") {
  Bed bed;
  const Tokenizer& tokenizer = served_tokenizer();
  const std::string text = "ab<｜User｜>é";
  CHECK(bed.post("/tokenize", {{"content", text}})["tokens"] == tokenizer.encode(text, true));
  CHECK(bed.post("/tokenize", {{"content", text}, {"parse_special", false}})["tokens"] ==
        tokenizer.encode(text, false));
  const Json with_bos = bed.post("/tokenize", {{"content", text}, {"add_special", true}})["tokens"];
  CHECK(with_bos[0] == *tokenizer.bos());
  const Json pieces = bed.post("/tokenize", {{"content", "é"}, {"with_pieces", true}})["tokens"];
  REQUIRE(pieces.size() == 2);
  CHECK(pieces[0]["piece"] == Json::array({0xC3}));
  CHECK(bed.post("/tokenize", {{"content", "x"}, {"with_pieces", true}})["tokens"][0]["piece"] == "x");
  CHECK(bed.post("/tokenize", {{"content", ""}})["tokens"] == Json::array());
  CHECK(bed.post("/detokenize", {{"tokens", tokenizer.encode(text, true)}})["content"] == text);
  CHECK(bed.post("/detokenize", {{"tokens", {pieces[0]["id"]}}})["content"] == "\uFFFD");

  check_refused(bed, "/tokenize", Json::object(), "content");
  check_refused(bed, "/tokenize", {{"content", 5}}, "content");
  check_refused(bed, "/tokenize", {{"content", "x"}, {"add_special", 1}}, "add_special");
  check_refused(bed, "/detokenize", Json::object(), "tokens");
  check_refused(bed, "/detokenize", {{"tokens", "x"}}, "tokens");
  check_refused(bed, "/detokenize", {{"tokens", {0, -1}}}, "tokens[1]");
  check_refused(bed, "/detokenize", {{"tokens", {100000}}}, "tokens[0]");
}

TEST_CASE("apply-template shows the prompt") {
  Bed bed;
  const Json body = {{"messages", {{{"role", "user"}, {"content", "Hi"}}}}};
  CHECK(bed.post("/apply-template", body) == Json{{"prompt", "<｜begin▁of▁sentence｜><｜User｜>Hi<｜Assistant｜>"}});
  CHECK(bed.generator.asked.empty());
  check_refused(bed, "/apply-template", Json::object(), "messages");
  Bed base("");
  check_refused(base, "/apply-template", body, "", "no chat template");
}

TEST_CASE("embeddings are refused in words") {
  Bed bed;
  const server::HttpResponse response = bed.send("/v1/embeddings", {{"input", "x"}});
  CHECK(response.status == 501);
  CHECK(contains(response.body, "makes no embeddings"));
}
