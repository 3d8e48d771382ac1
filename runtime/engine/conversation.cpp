#include "runtime/engine/conversation.h"

#include <exception>
#include <optional>
#include <utility>

#include "runtime/engine/scheduler.h"

namespace hearth {
namespace {

double rate(int64_t tokens, double seconds) {
  return seconds > 0 ? double(tokens) / seconds : 0;
}

}  // namespace

double GenerateResult::prefill_rate() const {
  return rate(prompt_tokens - cached_tokens, prefill_seconds);
}
double GenerateResult::decode_rate() const {
  return rate(decode_steps, decode_seconds);
}

Conversation::Conversation(Model& model, const Tokenizer& tokenizer) : model_(model) {
  const auto watch = [this](const RunProgress* reading) {
    try {
      if (reading && callbacks_->on_reading) callbacks_->on_reading(*reading);
      return !callbacks_->stop_now || !callbacks_->stop_now();
    } catch (...) {
      thrown_ = std::current_exception();
      return false;
    }
  };
  scheduler_ = std::make_unique<Scheduler>(model, tokenizer, SchedulerOptions{{}, watch});
}

Conversation::~Conversation() = default;

void Conversation::clear() {
  scheduler_->forget_prefixes();
}

const std::vector<Token>& Conversation::history() const {
  return scheduler_->last_tokens();
}

int64_t Conversation::context_left() const {
  return model_.options().n_ctx - int64_t(history().size());
}

namespace {

// What a call's listener hears becomes its result.
class Heard final : public GenerationListener {
 public:
  Heard(const GenerateCallbacks& callbacks, std::exception_ptr& thrown) : callbacks_(callbacks), thrown_(thrown) {}

  bool token(const GeneratedToken& token) override try {
    result.tokens.push_back(token.token);
    if (callbacks_.on_token) callbacks_.on_token(token.token);
    return !callbacks_.enough || !callbacks_.enough();
  } catch (...) {
    thrown_ = std::current_exception();
    return false;
  }
  void finished(const GenerationSummary& summary) override {
    result.reason = summary.reason;
    result.prompt_tokens = summary.prompt_tokens;
    result.cached_tokens = summary.cached_tokens;
    result.decode_steps = summary.decode_steps;
    result.prefill_seconds = summary.prefill_seconds;
    result.decode_seconds = summary.decode_seconds;
  }
  void failed(const Error& error) override { failure = error; }

  GenerateResult result;
  std::optional<Error> failure;

 private:
  const GenerateCallbacks& callbacks_;
  std::exception_ptr& thrown_;
};

}  // namespace

GenerateResult Conversation::generate(std::span<const Token> prompt, Sampler& sampler, const GenerateOptions& options,
                                      const GenerateCallbacks& callbacks) {
  GenerationRequest request;
  request.prompt.assign(prompt.begin(), prompt.end());
  request.sampler = &sampler;
  request.max_tokens = options.max_tokens;
  request.stop_tokens = options.stop_tokens;
  request.ignore_eos = options.ignore_eos;
  request.constraint = options.constraint;
  scheduler_->check(request);
  const auto heard = std::make_shared<Heard>(callbacks, thrown_);
  callbacks_ = &callbacks;
  scheduler_->add(1, std::move(request), heard);
  while (scheduler_->busy()) scheduler_->step();
  if (thrown_) std::rethrow_exception(std::exchange(thrown_, {}));
  if (heard->failure) throw *heard->failure;
  if (heard->result.stopped_unanswered()) heard->result.prompt_tokens = int64_t(history().size());
  return std::move(heard->result);
}

}  // namespace hearth
