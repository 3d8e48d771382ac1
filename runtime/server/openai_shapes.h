// What OpenAI's protocols share in their answers.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "runtime/server/answer_task.h"
#include "runtime/server/api_fields.h"
#include "runtime/server/served_model.h"

namespace hearth::server {

// "chatcmpl-" and 24 letters and digits by chance.
std::string random_id(std::string_view prefix);
int64_t seconds_since_1970();

// Tokens of all choices. A prompt counts once, however many choices it has.
struct Usage {
  int64_t prompt = 0, cached = 0, generated = 0, thinking = 0;
};
Usage usage_of(std::span<const Choice> choices, int n);
Json usage_json(const Usage& usage);

// "stop", "length", or "tool_calls" where there are any.
std::string_view finish_reason(const Choice& choice);
// Of a call; "{}" where the model wrote none.
std::string_view arguments_of(const ChoiceCall& call);
// The texts and the calls of an answer, in the order in which they were said.
void each_part(const Choice& choice, const std::function<void(std::string_view text)>& text,
               const std::function<void(const ChoiceCall& call)>& call);

// llama.cpp's two extras: speeds, and how far the prompt is read.
Json timings_json(const Choice& choice);
Json progress_json(const Choice& choice);

// A token's text as JSON can hold it: what is no whole character is U+FFFD, as `bytes` tell better.
std::string token_text(const Tokenizer& tokenizer, Token token);
// {token, bytes, logprob, top_logprobs: [{token, bytes, logprob}]} for each.
Json logprobs_json(const Tokenizer& tokenizer, std::span<const GeneratedToken> tokens);

// What a stream is to hold beside the text.
struct StreamWishes {
  bool usage = false, progress = false;
  bool running_usage = false;  // in every piece, as far as the answer has come (vLLM's continuous_usage_stats)
};
StreamWishes read_stream_wishes(const Fields& body);

}  // namespace hearth::server
