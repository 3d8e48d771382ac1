// What somebody wants generated, and what he is told meanwhile: the face between those who ask (the server, chat, run)
// and the engine, which takes all of their sequences through the model together.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "quant/error.h"
#include "runtime/engine/sampler.h"
#include "runtime/support/token.h"

namespace hearth {

// What an answer may be, token by token; of one answer. Asked and told in turns, by one thread at a time.
class Constraint {
 public:
  virtual ~Constraint() = default;
  // Bit t % 64 of word t / 64, one for each row of the logits: token t may come next. Some token always may; one that
  // ends the text may where the text may end. Valid until `accept`.
  virtual std::span<const uint64_t> allowed() = 0;
  virtual void accept(Token token) = 0;  // one of those
};

enum class StopReason { eos, max_tokens, context_full, interrupted, stop_string };
std::string_view stop_reason_name(StopReason reason);  // "eos", "max_tokens", ...

struct GenerationRequest {
  std::vector<Token> prompt;       // from BOS on
  SamplerOptions sampling;         // decided, the seed too
  Sampler* sampler = nullptr;      // instead of one made of that: its random numbers go on from one request to the next
  int64_t max_tokens = -1;         // -1: until the model stops or the context is full
  std::vector<Token> stop_tokens;  // besides eos
  bool ignore_eos = false;
  std::shared_ptr<Constraint> constraint;  // none: any token may come
  int n_logprobs = -1;  // -1: none; n: the logarithms of the probabilities of the tokens, and of the n likeliest
};

struct TokenLogprob {
  Token token = 0;
  float logprob = 0;  // natural logarithm, of the model's own distribution: before penalties, bias and temperature
};

struct GeneratedToken {
  Token token = 0;
  float logprob = 0;                    // where n_logprobs >= 0
  std::vector<TokenLogprob> likeliest;  // n_logprobs of them, the likeliest first
};

struct ReadingProgress {
  int64_t total = 0;   // tokens of the prompt
  int64_t cached = 0;  // of those, found in the cache
  int64_t done = 0;    // of those, in the cache now: cached and read
  double seconds = 0;  // since reading began
};

struct GenerationSummary {
  StopReason reason = StopReason::eos;
  int64_t prompt_tokens = 0, cached_tokens = 0;  // of those, found in the cache and not run again
  int64_t generated_tokens = 0;                  // without the closing eos
  int64_t decode_steps = 0;                      // of those, run one by one for the next one's logits
  double queued_seconds = 0, prefill_seconds = 0, decode_seconds = 0;
};

// All on the engine's thread, which waits meanwhile: be quick, block on nothing. Either finished or failed is the last.
class GenerationListener {
 public:
  virtual ~GenerationListener() = default;
  // When reading begins, and after each slice of the prompt.
  virtual void reading(const ReadingProgress&) {}
  // Every sampled token, not the closing eos. False: the answer ends with it, at a stop string.
  virtual bool token(const GeneratedToken& token) = 0;
  virtual void finished(const GenerationSummary& summary) = 0;
  // The backend failed, or the model's output is not a number.
  virtual void failed(const Error& error) = 0;
};

// The prompt, or what is to be generated of it, is longer than the context.
struct ContextOverflow : Error {
  ContextOverflow(int64_t n_prompt, int64_t n_ctx);
  int64_t n_prompt, n_ctx;
};

// As many requests wait as may. To be tried again in so many seconds.
struct QueueFull : Error {
  QueueFull(int64_t limit, double retry_after);
  double retry_after;
};

// For /metrics and people. Sums since the engine began.
struct EngineStatus {
  int64_t running = 0, waiting = 0;  // requests now
  int64_t max_running = 0, max_waiting = 0;
  uint64_t finished = 0, cancelled = 0, failed = 0, refused = 0;        // requests
  uint64_t prompt_tokens = 0, cached_tokens = 0, generated_tokens = 0;  // cached: not read again
  double prefill_seconds = 0, decode_seconds = 0;                       // of the model
  uint64_t decode_steps = 0, decode_rows = 0;                           // rows: tokens of all those steps
  int64_t pages = 0, used_pages = 0, page_positions = 0, n_ctx = 0;
  int64_t kept_pages = 0;  // of those used, pages of prefixes that nobody runs, each for everyone who shares it
  uint64_t experts_chosen = 0, experts_on_gpu = 0;  // 0: all experts are in one memory
  uint64_t host_bytes = 0, gpu_bytes = 0;           // of experts read on either side
  double host_seconds = 0;
};

class Generator {
 public:
  virtual ~Generator() = default;
  // From any thread; returns at once. Throws Error(usage): an empty prompt, a token outside the vocabulary, an option
  // of the sampler; ContextOverflow; QueueFull. The number is for `cancel`.
  virtual uint64_t submit(GenerationRequest request, std::shared_ptr<GenerationListener> listener) = 0;
  // From any thread; returns at once. The request ends within a step: finished, with StopReason::interrupted. One that
  // is over already is no error.
  virtual void cancel(uint64_t request) = 0;
  virtual EngineStatus status() const = 0;
};

}  // namespace hearth
