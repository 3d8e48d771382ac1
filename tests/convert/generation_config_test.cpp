#include "convert/generation_config.h"

#include <doctest/doctest.h>

#include "quant/gguf_keys.h"
#include "tests/support/paths.h"
#include "tests/support/refusal.h"
#include "tests/support/safetensors_writer.h"

using namespace hearth;
using namespace hearth::test;

namespace {

GenerationConfig parse_config(std::string_view text) {
  return parse_generation_config(text, "generation_config.json", 100);
}

}  // namespace

TEST_CASE("recommended sampling under the keys of llama.cpp-family programs") {
  GgufMetadata m;
  add_sampling_metadata(
      parse_config(R"({"do_sample": true, "temperature": 0.6, "top_p": 0.95, "top_k": 20, "min_p": 0.05,
                                  "repetition_penalty": 1.1})"),
      m);
  CHECK(m.number("general.sampling.temp") == doctest::Approx(0.6));
  CHECK(m.number("general.sampling.top_p") == doctest::Approx(0.95));
  CHECK(m.number("general.sampling.min_p") == doctest::Approx(0.05));
  CHECK(m.number("general.sampling.penalty_repeat") == doctest::Approx(1.1));
  REQUIRE(m.find(key::kSamplingTopK));
  CHECK(m.find(key::kSamplingTopK)->type_text() == "i32");
  CHECK(m.unsigned_integer(key::kSamplingTopK) == 20);
  CHECK(m.find(key::kSamplingTemp)->type_text() == "f32");
}

TEST_CASE("what is not said is not written") {
  GgufMetadata m;
  add_sampling_metadata(parse_config(R"({"do_sample": true, "eos_token_id": 1, "top_p": null})"), m);
  CHECK(m.entries().empty());
}

TEST_CASE("do_sample false is a temperature of 0") {
  CHECK(parse_config(R"({"do_sample": false})").temperature == 0);
  CHECK(parse_config(R"({"do_sample": false})").notes.empty());
  const GenerationConfig g = parse_config(R"({"do_sample": false, "temperature": 0.7})");
  CHECK(g.temperature == 0);
  REQUIRE(g.notes.size() == 1);
  CHECK(contains(g.notes[0], "do_sample false"));
}

TEST_CASE("one end, several, and values that make no sense") {
  CHECK(parse_config(R"({"bos_token_id": 3, "eos_token_id": 7})").bos == 3);
  CHECK(parse_config(R"({"eos_token_id": 7})").eos == std::vector<int64_t>{7});
  const GenerationConfig g =
      parse_config(R"({"eos_token_id": [7, 100, -1, 8], "temperature": "hot", "top_k": -3, "top_p": NaN})");
  CHECK(g.eos == std::vector<int64_t>{7, 8});
  CHECK(!g.temperature);
  CHECK(!g.top_k);
  CHECK(!g.top_p);
  CHECK(g.notes.size() == 5);
}

TEST_CASE("a file that is no JSON, and none at all") {
  CHECK(contains(refusal([] { parse_config("{"); }), "generation_config.json: not valid JSON"));
  const TempDir dir;
  CHECK(read_generation_config(dir.path(), 10).eos.empty());
  write_text(dir / "generation_config.json", R"({"eos_token_id": 6})");
  CHECK(read_generation_config(dir.path(), 10).eos == std::vector<int64_t>{6});
}
