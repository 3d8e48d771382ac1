#include "runtime/engine/conversation.h"

#include <algorithm>
#include <chrono>

#include "runtime/support/seconds_since.h"

namespace hearth {
namespace {

class Stopwatch {
 public:
  double seconds() const { return seconds_since(start_); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

double rate(int64_t tokens, double seconds) {
  return seconds > 0 ? double(tokens) / seconds : 0;
}

}  // namespace

std::string_view stop_reason_name(StopReason reason) {
  switch (reason) {
    case StopReason::eos:
      return "eos";
    case StopReason::max_tokens:
      return "max_tokens";
    case StopReason::context_full:
      return "context_full";
    case StopReason::interrupted:
      return "interrupted";
    case StopReason::stop_string:
      return "stop_string";
  }
  return "";
}

double GenerateResult::prefill_rate() const {
  return rate(prompt_tokens - cached_tokens, prefill_seconds);
}
double GenerateResult::decode_rate() const {
  return rate(decode_steps, decode_seconds);
}

Conversation::Conversation(Model& model, const Tokenizer& tokenizer)
    : model_(model),
      tokenizer_(tokenizer),
      cache_(model.new_cache()),
      logits_(static_cast<size_t>(model.config().vocab_size)) {}

void Conversation::clear() {
  cache_.truncate(0);
  history_.clear();
}

// Keeps what the cache and the prompt begin with in common. The last token is always run: its logits are wanted.
int64_t Conversation::reuse(std::span<const Token> prompt) {
  const auto most = std::min(history_.size(), prompt.size() - 1);
  const auto common = std::mismatch(prompt.begin(), prompt.begin() + std::ptrdiff_t(most), history_.begin()).first;
  history_.resize(size_t(common - prompt.begin()));
  cache_.truncate(int64_t(history_.size()));
  return cache_.length();
}

// Runs what is missing of the prompt; false when interrupted.
bool Conversation::prefill(std::span<const Token> prompt, const GenerateCallbacks& callbacks) {
  const bool complete =
      model_.run(prompt.subspan(history_.size()), cache_, logits_, false, [&](const RunProgress& progress) {
        if (callbacks.on_reading) callbacks.on_reading(progress);
        return !callbacks.stop_now || !callbacks.stop_now();
      });
  history_.assign(prompt.begin(), prompt.begin() + std::ptrdiff_t(cache_.length()));
  return complete;
}

StopReason Conversation::decode(Sampler& sampler, const GenerateOptions& options, const GenerateCallbacks& callbacks,
                                GenerateResult& result) {
  const auto go_on = [&](const RunProgress&) { return !callbacks.stop_now || !callbacks.stop_now(); };
  while (options.max_tokens < 0 || int64_t(result.tokens.size()) < options.max_tokens) {
    if (callbacks.stop_now && callbacks.stop_now()) return StopReason::interrupted;
    const Token token = sampler.sample(logits_, {history_, result.tokens.size()});
    if (tokenizer_.ends_text(token) && !options.ignore_eos) return StopReason::eos;
    if (std::ranges::find(options.stop_tokens, token) != options.stop_tokens.end()) return StopReason::eos;
    result.tokens.push_back(token);
    if (callbacks.on_token) callbacks.on_token(token);
    if (callbacks.enough && callbacks.enough()) return StopReason::stop_string;

    // No logits are wanted after the last token that was asked for, so it is not run.
    if (int64_t(result.tokens.size()) == options.max_tokens) break;
    if (context_left() == 0) return StopReason::context_full;
    if (!model_.run({&token, 1}, cache_, logits_, false, go_on)) return StopReason::interrupted;
    history_.push_back(token);
    ++result.decode_steps;
  }
  return StopReason::max_tokens;
}

GenerateResult Conversation::generate(std::span<const Token> tokens, Sampler& sampler, const GenerateOptions& options,
                                      const GenerateCallbacks& callbacks) {
  const std::vector<Token> prompt(tokens.begin(), tokens.end());  // it may be a view of our own history
  require(!prompt.empty(), ErrorKind::usage, "the prompt is empty");
  require(int64_t(prompt.size()) <= cache_.capacity(), ErrorKind::resource,
          "the prompt of {} tokens does not fit the context of {}", prompt.size(), cache_.capacity());

  GenerateResult result;
  result.prompt_tokens = int64_t(prompt.size());
  result.cached_tokens = reuse(prompt);
  const Stopwatch prefill_time;
  const bool complete = prefill(prompt, callbacks);
  result.prefill_seconds = prefill_time.seconds();
  if (!complete) {
    result.prompt_tokens = int64_t(history_.size());
    result.reason = StopReason::interrupted;
    return result;
  }

  const Stopwatch decode_time;
  result.reason = decode(sampler, options, callbacks, result);
  result.decode_seconds = decode_time.seconds();
  return result;
}

}  // namespace hearth
