// /v1/completions and /infill.
#include "tests/runtime/server/bed.h"

using namespace hearth;
using namespace hearth::test;

namespace {

constexpr const char* kCompletions = "/v1/completions";

}  // namespace

TEST_CASE("completions: a text goes on") {
  Bed bed("");
  const Json answer = bed.post(kCompletions, {{"prompt", "Once"}, {"max_tokens", 5}});
  CHECK(bed.last_prompt() == kBos + "Once");
  CHECK(answer["id"].get<std::string>().starts_with("cmpl-"));
  CHECK(answer["object"] == "text_completion");
  CHECK(answer["choices"] ==
        Json{{{"index", 0}, {"text", "Hello"}, {"logprobs", nullptr}, {"finish_reason", "length"}}});
  CHECK(answer["usage"]["completion_tokens"] == 5);

  const auto events = bed.stream(kCompletions, {{"prompt", "Once"}, {"stream_options", {{"include_usage", true}}}});
  REQUIRE(events.size() == 13);
  CHECK(events[0].json()["choices"][0]["text"] == "H");
  CHECK(events[10].json()["choices"][0]["finish_reason"] == "stop");
  CHECK(events[10].json().contains("timings"));
  CHECK(events[11].json()["usage"]["completion_tokens"] == 10);
  CHECK(events[12].data == "[DONE]");
}

TEST_CASE("completions: prompts as texts, tokens, and lists of either") {
  Bed bed;
  const auto prompts = [&](Json prompt, const Json& more = Json::object()) {
    Json body = {{"prompt", std::move(prompt)}};
    body.update(more);
    const size_t before = bed.generator.asked.size();
    const Json answer = bed.post(kCompletions, body);
    std::vector<std::string> texts;
    for (size_t i = before; i < bed.generator.asked.size(); ++i)
      texts.push_back(served_tokenizer().decode(bed.generator.asked[i].request.prompt, true));
    CHECK(answer["choices"].size() == texts.size());
    return texts;
  };
  using Texts = std::vector<std::string>;
  CHECK(prompts("a") == Texts{kBos + "a"});
  CHECK(prompts({"a", "b"}) == Texts{kBos + "a", kBos + "b"});
  CHECK(prompts({"a", "b"}, {{"n", 2}}) == Texts{kBos + "a", kBos + "a", kBos + "b", kBos + "b"});
  CHECK(prompts(said_bytes("ab")) == Texts{"ab"});  // to the letter
  CHECK(prompts({said_bytes("a"), said_bytes("b")}) == Texts{"a", "b"});
  // Whoever continues a text means its marks, unless he says otherwise.
  bed.post(kCompletions, {{"prompt", kBos + "<｜User｜>"}});
  CHECK(bed.last().prompt.size() == 2);
  bed.post(kCompletions, {{"prompt", kBos}, {"parse_special", false}});
  CHECK(bed.last().prompt.size() > 10);
  bed.post(kCompletions, {{"prompt", ""}});
  CHECK(bed.last_prompt() == kBos);

  const auto refused = [&](const Json& prompt, const char* param) {
    check_refused(bed, kCompletions, {{"prompt", prompt}}, param, "expected");
  };
  check_refused(bed, kCompletions, Json::object(), "prompt", "found none");
  refused(Json::array(), "prompt");
  refused(5, "prompt");
  refused(Json::object(), "prompt");
  refused({1, "a"}, "prompt[1]");
  refused({1, -1}, "prompt[1]");
  refused({1, 1.5}, "prompt[1]");
  refused({1, 1000000}, "prompt[1]");
  refused({"a", 1}, "prompt[1]");
  refused(Json::array({Json::array()}), "prompt[0]");
  refused({{1, 2}, {1, "x"}}, "prompt[1][1]");
  refused(Json(std::vector<std::string>(129, "x")), "prompt");
  check_refused(bed, kCompletions, {{"prompt", "a"}, {"echo", true}}, "echo");
  check_refused(bed, kCompletions, {{"prompt", "a"}, {"best_of", 2}}, "best_of");
}

TEST_CASE("completions: what stands between two texts") {
  Bed bed;
  bed.post(kCompletions, {{"prompt", "a<｜fim▁hole｜>"}, {"suffix", "b"}});
  CHECK(bed.last_prompt() == kBos + "<｜fim▁begin｜>a<｜fim▁hole｜><｜fim▁hole｜>b<｜fim▁end｜>");
  CHECK(std::ranges::count(bed.last().prompt, *served_tokenizer().find("<｜fim▁hole｜>")) == 1);
  check_refused(bed, kCompletions, {{"prompt", {1}}, {"suffix", "b"}}, "suffix", "found tokens");
  const Tokenizer plain{ChatVocabulary().metadata()};
  bed.model->tokenizer = &plain;
  check_refused(bed, kCompletions, {{"prompt", "a"}, {"suffix", "b"}}, "suffix", "not made to fill in the middle");
  check_refused(bed, "/infill", {{"input_prefix", "a"}}, "", "not made to fill in the middle");
}

TEST_CASE("completions: logprobs in the older shape, whose offsets count characters") {
  Bed bed;
  bed.generator.says = said_bytes("aéb|c");
  const Json body = {{"prompt", "x"}, {"logprobs", 2}, {"stop", "|c"}};
  const Json logprobs = bed.post(kCompletions, body)["choices"][0]["logprobs"];
  CHECK(logprobs["tokens"] == Json{"a", "\uFFFD", "\uFFFD", "b"});
  CHECK(logprobs["token_logprobs"] == Json{-0.5, -0.5, -0.5, -0.5});
  CHECK(logprobs["text_offset"] == Json{0, 1, 2, 3});
  CHECK(logprobs["top_logprobs"][0].size() == 2);
  CHECK(logprobs["top_logprobs"][0]["a"] == -0.5);

  Json offsets = Json::array();
  for (const Event& event : bed.stream(kCompletions, body)) {
    if (event.data == "[DONE]") break;
    const Json piece = event.json()["choices"][0]["logprobs"];
    if (!piece.is_null()) offsets.insert(offsets.end(), piece["text_offset"].begin(), piece["text_offset"].end());
  }
  CHECK(offsets == Json{0, 1, 2, 3});
  check_refused(bed, kCompletions, {{"prompt", "x"}, {"logprobs", true}}, "logprobs");
  check_refused(bed, kCompletions, {{"prompt", "x"}, {"logprobs", 21}}, "logprobs");
}

TEST_CASE("infill: other files, the text before, the line of the cursor, the text behind") {
  Bed bed;
  const Json body = {{"input_extra", {{{"filename", "a.py"}, {"text", "x = 1"}}, {{"text", "y"}}}},
                     {"input_prefix", "def f():\n"},
                     {"prompt", "  return "},
                     {"input_suffix", "\n"},
                     {"n_predict", 5},
                     {"samplers", {"top_k", "infill"}},
                     {"t_max_predict_ms", 500}};
  const Json answer = bed.post("/infill", body);
  CHECK(bed.last_prompt() ==
        kBos + "<｜fim▁begin｜>#a.py\nx = 1\n#\ny\ndef f():\n  return <｜fim▁hole｜>\n<｜fim▁end｜>");
  CHECK(answer["content"] == "Hello");
  CHECK(answer["stop"] == true);
  CHECK(answer["stop_type"] == "limit");
  CHECK(answer["tokens_predicted"] == 5);
  CHECK(answer["tokens_evaluated"] == bed.last().prompt.size());
  CHECK(answer["timings"]["predicted_n"] == 5);

  const auto events = bed.stream("/infill", {{"input_prefix", "a"}, {"stop", "llo"}});
  REQUIRE(events.size() == 3);
  CHECK(events[0].json() == Json{{"index", 0}, {"content", "H"}, {"stop", false}});
  CHECK(events[2].json()["stop"] == true);
  CHECK(events[2].json()["content"] == "");
  CHECK(events[2].json()["stop_type"] == "word");
  CHECK(events[2].json()["stopping_word"] == "llo");
  check_refused(bed, "/infill", {{"input_prefix", 1}}, "input_prefix");
  check_refused(bed, "/infill", {{"input_extra", {{{"filename", "a"}}}}}, "input_extra[0].text");
  check_refused(bed, "/infill", {{"input_extra", {"a"}}}, "input_extra[0]");
}
