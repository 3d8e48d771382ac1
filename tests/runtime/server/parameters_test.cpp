// The three lists, by asking every endpoint for everything that is on them.
#include "runtime/server/parameters.h"

#include <set>

#include "tests/runtime/server/bed.h"

using namespace hearth;
using namespace hearth::server;
using namespace hearth::test;

namespace {

struct Place {
  Endpoint endpoint;
  const char* path;
  Json body;
};

const std::vector<Place>& places() {
  static const Json messages = {{{"role", "user"}, {"content", "Hi"}}};
  static const std::vector<Place> all = {
      {Endpoint::chat, "/v1/chat/completions", {{"messages", messages}}},
      {Endpoint::completions, "/v1/completions", {{"prompt", "Hi"}}},
      {Endpoint::infill, "/infill", {{"input_prefix", "Hi"}}},
      {Endpoint::responses, "/v1/responses", {{"input", "Hi"}}},
      {Endpoint::messages, "/v1/messages", {{"messages", messages}, {"max_tokens", 5}}},
  };
  return all;
}

Json with(Json body, std::string_view name, Json value) {
  body[std::string(name)] = std::move(value);
  return body;
}

}  // namespace

TEST_CASE("a name is on one list, and what is refused says why") {
  for (const Place& place : places()) {
    std::set<std::string_view> names;
    for (const auto list : parameters_of(place.endpoint))
      for (const Parameter& parameter : list) {
        CAPTURE(parameter.name);
        CHECK(names.insert(parameter.name).second);
        CHECK(parameter.why.empty() == (parameter.treatment != Treatment::refused));
        if (parameter.treatment == Treatment::refused) CHECK(Json::parse(parameter.neutral).is_array());
      }
    CHECK(names.size() > 50);
  }
}

TEST_CASE("what is refused is refused by name, but for values that ask for nothing") {
  Bed bed;
  for (const Place& place : places())
    for (const auto list : parameters_of(place.endpoint))
      for (const Parameter& parameter : list) {
        if (parameter.treatment != Treatment::refused) continue;
        CAPTURE(parameter.name);
        const std::string name(parameter.name);
        for (const Json& value : {Json("something"), Json(17), Json{{"type", "other"}}, Json::array({1})})
          check_refused(bed, place.path, with(place.body, name, value), name, std::string(parameter.why));
        bed.post(place.path, with(place.body, name, nullptr));
        for (const Json& neutral : Json::parse(parameter.neutral))
          bed.post(place.path, with(place.body, name, neutral));
      }
}

TEST_CASE("what is harmless may be anything, and so may names that nobody knows") {
  Bed bed;
  for (const Place& place : places()) {
    Json body = place.body;
    for (const auto list : parameters_of(place.endpoint))
      for (const Parameter& parameter : list)
        if (parameter.treatment == Treatment::harmless) body[std::string(parameter.name)] = "something";
    body["unheard_of"] = {{"a", 1}};
    bed.post(place.path, body);
  }
}

TEST_CASE("sampling is read alike everywhere, and what is not said is the model's") {
  Bed bed;
  for (const Place& place : places()) {
    CAPTURE(place.path);
    bed.post(place.path, place.body);
    CHECK(bed.last().sampling.temperature == 0.5f);
    CHECK(bed.last().sampling.top_p == 0.9f);
    CHECK(bed.last().max_tokens == (place.endpoint == Endpoint::messages ? 5 : -1));
    CHECK(bed.last().n_logprobs == -1);

    Json body = place.body;
    body.update(Json{{"model", "anything"},
                     {"temperature", 1.5},
                     {"top_p", 0.25},
                     {"top_k", 7},
                     {"min_p", 0.125},
                     {"seed", 42},
                     {"repetition_penalty", 1.25},
                     {"repeat_last_n", 9},
                     {"frequency_penalty", 0.5},
                     {"presence_penalty", -1.5},
                     {"logit_bias", {{"5", -100}, {"6", 2.5}}},
                     {"stop_token_ids", {11}},
                     {"ignore_eos", true}});
    const Json answer = bed.post(place.path, body);
    const GenerationRequest& last = bed.last();
    CHECK(last.sampling.temperature == 1.5f);
    CHECK(last.sampling.top_p == 0.25f);
    CHECK(last.sampling.top_k == 7);
    CHECK(last.sampling.min_p == 0.125f);
    CHECK(last.sampling.seed == 42);
    CHECK(answer["seed"] == 42);
    CHECK(last.sampling.repetition_penalty == 1.25f);
    CHECK(last.sampling.repetition_window == 9);
    CHECK(last.sampling.frequency_penalty == 0.5f);
    CHECK(last.sampling.presence_penalty == -1.5f);
    REQUIRE(last.sampling.logit_bias.size() == 2);
    CHECK(last.sampling.logit_bias[1].token == 6);
    CHECK(last.sampling.logit_bias[1].bias == 2.5f);
    CHECK(std::ranges::count(last.stop_tokens, 11) == 1);
    CHECK(last.ignore_eos);
  }
}

TEST_CASE("sampling at its limits") {
  Bed bed;
  const Json body = {{"prompt", "Hi"}};
  const auto sampling = [&](const char* name, Json value) {
    bed.post("/v1/completions", with(body, name, value));
    return bed.last().sampling;
  };
  CHECK(sampling("top_p", 0).top_p > 0);  // the likeliest token alone
  CHECK(sampling("top_p", 0).top_p < 1e-5f);
  CHECK(sampling("top_k", -1).top_k == 0);
  CHECK(sampling("temperature", 0).temperature == 0);
  CHECK(sampling("repeat_penalty", 1.5).repetition_penalty == 1.5f);
  CHECK(sampling("repeat_last_n", -1).repetition_window > 1'000'000);
  CHECK(sampling("seed", UINT64_MAX).seed == UINT64_MAX);
  CHECK(sampling("seed", INT64_MAX).seed == uint64_t(INT64_MAX));

  const auto refused = [&](const char* name, Json value, const char* param = nullptr) {
    check_refused(bed, "/v1/completions", with(body, name, value), param ? param : name, "expected");
  };
  refused("temperature", -0.1);
  refused("temperature", 101);
  refused("temperature", "hot");
  refused("temperature", 1e300);
  refused("top_p", 1.5);
  refused("top_k", 1.5);
  refused("top_k", 1e12);
  refused("min_p", -1);
  refused("seed", -2);
  refused("seed", 1.5);
  refused("seed", 1e30);
  refused("repetition_penalty", 0);
  refused("frequency_penalty", 2.5);
  refused("presence_penalty", -3);
  refused("logit_bias", Json::array());
  refused("logit_bias", {{"x", 1}}, "logit_bias.x");
  refused("logit_bias", {{"1.0", 1}}, "logit_bias.1.0");
  refused("logit_bias", {{"-1", 1}}, "logit_bias.-1");
  refused("logit_bias", {{"99999999999999999999", 1}}, "logit_bias.99999999999999999999");
  refused("logit_bias", {{"100000", 1}}, "logit_bias.100000");
  refused("logit_bias", {{"5", 101}}, "logit_bias.5");
  refused("stop_token_ids", {1, -1}, "stop_token_ids[1]");
  refused("ignore_eos", 1);
  refused("stream", "yes");
  refused("model", 5);
  refused("max_tokens", -2);
  refused("max_tokens", 1e10);
  refused("n", 0);
  refused("n", 129);
  refused("stop", "");
  refused("stop", 5);
  refused("stop", {"a", ""}, "stop[1]");
  refused("stop", {"a", 1}, "stop[1]");
  refused("stop", Json(std::vector<std::string>(33, "x")));
  refused("return_progress", 1);
  refused("stream_options", true);
}

TEST_CASE("without a seed each request gets another one, and it is told") {
  Bed bed;
  std::set<uint64_t> seeds;
  for (int i = 0; i < 4; ++i) {
    const Json answer = bed.post("/v1/completions", {{"prompt", "Hi"}, {"seed", i % 2 ? Json(-1) : Json()}});
    CHECK(answer["seed"] == bed.last().sampling.seed);
    seeds.insert(bed.last().sampling.seed);
  }
  CHECK(seeds.size() > 1);  // four equal ones: once in 10^28
}
