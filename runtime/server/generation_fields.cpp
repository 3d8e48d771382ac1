#include "runtime/server/generation_fields.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>

#include "runtime/server/api_error.h"

namespace hearth::server {

namespace {

constexpr int64_t kMaxInt = std::numeric_limits<int>::max();

// Whole numbers of 64 bits, with or without a sign. -1 is llama.cpp's word for "another one each time". Invented ones
// stay below 2^32, which every reader of JSON keeps exactly.
uint64_t read_seed(const Fields& body) {
  const Json* value = body.find("seed");
  if (value && value->is_number_unsigned()) return value->get<uint64_t>();
  const int64_t seed = body.integer("seed", -1, INT64_MAX).value_or(-1);
  return seed >= 0 ? uint64_t(seed) : std::random_device()();
}

void read_token_list(const Fields& body, std::string_view name, int64_t n_vocab, std::vector<Token>& out) {
  const Json* list = body.list(name);
  if (!list) return;
  for (size_t i = 0; i < list->size(); ++i)
    out.push_back(Token(integer_in((*list)[i], path_of(body.path(name), i), 0, n_vocab - 1)));
}

// {"1234": -100}: the keys are tokens.
void read_logit_bias(const Fields& body, int64_t n_vocab, std::vector<TokenBias>& out) {
  const auto biases = body.object("logit_bias");
  if (!biases) return;
  for (const auto& [key, value] : biases->json().items()) {
    const std::string path = biases->path(key.substr(0, 40));
    int64_t token = -1;
    const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), token);
    if (error != std::errc() || end != key.data() + key.size() || token < 0 || token >= n_vocab)
      refuse(path, "expected the number of a token, from 0 to {}", n_vocab - 1);
    out.push_back({Token(token), float(number_in(value, path, -100, 100))});
  }
}

void read_sampling(const Fields& body, int64_t n_vocab, SamplerOptions& options) {
  const auto number = [&](const char* name, double low, double high, float& out) {
    if (const auto value = body.number(name, low, high)) out = float(*value);
  };
  number("temperature", 0, 100, options.temperature);
  number("top_p", 0, 1, options.top_p);
  options.top_p = std::max(options.top_p, 1e-6f);  // 0: the likeliest token alone
  number("min_p", 0, 1, options.min_p);
  if (const auto top_k = body.integer("top_k", -1, kMaxInt)) options.top_k = int(std::max<int64_t>(*top_k, 0));
  for (const char* name : {"repeat_penalty", "repetition_penalty"}) number(name, 0.01, 100, options.repetition_penalty);
  if (const auto window = body.integer("repeat_last_n", -1, kMaxInt))
    options.repetition_window = *window < 0 ? int(kMaxInt) : int(*window);
  number("frequency_penalty", -2, 2, options.frequency_penalty);
  number("presence_penalty", -2, 2, options.presence_penalty);
  read_logit_bias(body, n_vocab, options.logit_bias);
}

}  // namespace

void read_generation(const Fields& body, const ServedModel& model, AnswerTask& task) {
  const int64_t n_vocab = int64_t(model.tokenizer->size());
  body.text("model");  // any name is this model's
  GenerationRequest& each = task.each;
  each.sampling = model.sampling;
  read_sampling(body, n_vocab, each.sampling);
  each.sampling.seed = read_seed(body);
  Sampler(each.sampling);  // refuses what it does not take
  each.ignore_eos = body.flag("ignore_eos").value_or(false);
  read_token_list(body, "stop_token_ids", n_vocab, each.stop_tokens);
  task.stream = body.flag("stream").value_or(false);
}

void read_max_tokens(const Fields& body, std::initializer_list<std::string_view> names, AnswerTask& task) {
  for (const std::string_view name : names) {
    const auto value = body.integer(name, -1, kMaxInt);
    if (!value) continue;
    task.each.max_tokens = *value;
    return;
  }
}

void read_stops(const Fields& body, std::string_view name, AnswerTask& task) {
  constexpr size_t kMost = 32;  // every piece of text is searched for each of them
  const Json* value = body.find(name);
  if (!value) return;
  const std::string path = body.path(name);
  const auto add = [&](const Json& stop, const std::string& where) {
    if (!stop.is_string() || stop.get_ref<const std::string&>().empty())
      refuse(where, "expected text, found {}", stop.is_string() ? "an empty string" : kind_of(stop));
    task.stops.push_back(stop);
  };
  if (!value->is_array()) return add(*value, path);
  if (value->size() > kMost) refuse(path, "expected at most {} strings, found {}", kMost, value->size());
  for (size_t i = 0; i < value->size(); ++i) add((*value)[i], path_of(path, i));
}

void read_n(const Fields& body, AnswerTask& task) {
  task.n = int(body.integer("n", 1, int64_t(kMaxChoices)).value_or(1));
}

}  // namespace hearth::server
