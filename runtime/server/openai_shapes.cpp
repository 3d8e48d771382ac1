#include "runtime/server/openai_shapes.h"

#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <random>

#include "runtime/tokenizer/utf8.h"

namespace hearth::server {

std::string random_id(std::string_view prefix) {
  constexpr std::string_view kLetters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  std::string id(prefix);
  std::random_device random;
  for (int i = 0; i < 24; ++i) id += kLetters[random() % kLetters.size()];
  return id;
}

int64_t seconds_since_1970() {
  using namespace std::chrono;
  return duration_cast<seconds>(system_clock::now().time_since_epoch()).count();
}

Usage usage_of(std::span<const Choice> choices, int n) {
  Usage usage;
  for (const Choice& choice : choices) {
    usage.generated += choice.n_tokens;
    usage.thinking += choice.n_thinking;
    if (choice.index % size_t(n) != 0) continue;
    usage.prompt += choice.n_prompt;
    usage.cached += choice.over ? choice.summary.cached_tokens : choice.reading.cached;
  }
  return usage;
}

Json usage_json(const Usage& usage) {
  return {{"prompt_tokens", usage.prompt},
          {"completion_tokens", usage.generated},
          {"total_tokens", usage.prompt + usage.generated},
          {"prompt_tokens_details", {{"cached_tokens", usage.cached}}},
          {"completion_tokens_details", {{"reasoning_tokens", usage.thinking}}}};
}

std::string_view finish_reason(const Choice& choice) {
  const StopReason reason = choice.summary.reason;
  if (reason == StopReason::max_tokens || reason == StopReason::context_full) return "length";
  return choice.calls.empty() ? "stop" : "tool_calls";
}

std::string_view arguments_of(const ChoiceCall& call) {
  return call.arguments.empty() ? std::string_view("{}") : std::string_view(call.arguments);
}

void each_part(const Choice& choice, const std::function<void(std::string_view text)>& text,
               const std::function<void(const ChoiceCall& call)>& call) {
  size_t done = 0;
  const auto say_until = [&](size_t end) {
    if (end > done) text(std::string_view(choice.text).substr(done, end - done));
    done = end;
  };
  for (const ChoiceCall& one : choice.calls) {
    say_until(one.text_before);
    call(one);
  }
  say_until(choice.text.size());
}

Json timings_json(const Choice& choice) {
  const GenerationSummary& summary = choice.summary;
  const int64_t read = choice.n_prompt - summary.cached_tokens;
  const auto each_ms = [](double seconds, int64_t tokens) { return tokens > 0 ? 1e3 * seconds / double(tokens) : 0.0; };
  const auto rate = [](double seconds, int64_t tokens) { return seconds > 0 ? double(tokens) / seconds : 0.0; };
  return {{"cache_n", summary.cached_tokens},
          {"prompt_n", read},
          {"prompt_ms", 1e3 * summary.prefill_seconds},
          {"prompt_per_token_ms", each_ms(summary.prefill_seconds, read)},
          {"prompt_per_second", rate(summary.prefill_seconds, read)},
          {"predicted_n", choice.n_tokens},
          {"predicted_ms", 1e3 * summary.decode_seconds},
          {"predicted_per_token_ms", each_ms(summary.decode_seconds, choice.n_tokens)},
          {"predicted_per_second", rate(summary.decode_seconds, choice.n_tokens)},
          {"queued_ms", 1e3 * summary.queued_seconds}};
}

Json progress_json(const Choice& choice) {
  const ReadingProgress& reading = choice.reading;
  return {{"total", reading.total},
          {"cache", reading.cached},
          {"processed", reading.done},
          {"time_ms", int64_t(1e3 * reading.seconds)}};
}

std::string token_text(const Tokenizer& tokenizer, Token token) {
  return repair_utf8(tokenizer.bytes_of(token, true));
}

Json logprobs_json(const Tokenizer& tokenizer, std::span<const GeneratedToken> tokens) {
  const auto one = [&](Token token, float logprob) -> Json {
    Json bytes = Json::array();
    for (const char byte : tokenizer.bytes_of(token, true)) bytes.push_back(int(uint8_t(byte)));
    // JSON has no word for the logarithm of 0: OpenAI says -9999.
    const double finite = std::isfinite(logprob) ? double(logprob) : -9999.0;
    return {{"token", token_text(tokenizer, token)}, {"bytes", std::move(bytes)}, {"logprob", finite}};
  };
  Json list = Json::array();
  for (const GeneratedToken& token : tokens) {
    Json entry = one(token.token, token.logprob);
    Json& likeliest = entry["top_logprobs"] = Json::array();
    for (const TokenLogprob& other : token.likeliest) likeliest.push_back(one(other.token, other.logprob));
    list.push_back(std::move(entry));
  }
  return list;
}

StreamWishes read_stream_wishes(const Fields& body) {
  StreamWishes wishes;
  wishes.progress = body.flag("return_progress").value_or(false);
  if (const auto options = body.object("stream_options")) {
    wishes.usage = options->flag("include_usage").value_or(false);
    wishes.running_usage = options->flag("continuous_usage_stats").value_or(false);
  }
  return wishes;
}

}  // namespace hearth::server
