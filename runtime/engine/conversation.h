// One conversation with a model, for `chat` and `run`: the only client of a scheduler, which it drives itself. Prints
// nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/engine/generation.h"
#include "runtime/engine/model.h"
#include "runtime/engine/sampler.h"
#include "runtime/tokenizer/tokenizer.h"

namespace hearth {

struct GenerateOptions {
  int64_t max_tokens = -1;                 // -1: until the model stops or the context is full
  std::vector<Token> stop_tokens;          // besides eos
  bool ignore_eos = false;                 // for benchmarks
  std::shared_ptr<Constraint> constraint;  // none: any token may come
};

struct GenerateResult {
  StopReason reason = StopReason::eos;
  std::vector<Token> tokens;  // sampled, without the closing eos
  int64_t prompt_tokens = 0;  // of this call's prompt; when interrupted, those that the cache now holds
  int64_t cached_tokens = 0;  // of those, found in the cache and not run again
  int64_t decode_steps = 0;   // sampled tokens that were run, one by one, for the next one's logits
  double prefill_seconds = 0, decode_seconds = 0;

  // Stopped while the prompt was read: there is no answer, and a chat forgets the question.
  bool stopped_unanswered() const { return reason == StopReason::interrupted && tokens.empty(); }
  double prefill_rate() const;  // tok/s of the tokens that were run; 0 when nothing was measured
  double decode_rate() const;
};

// The last two are called many times in a millisecond, also in the middle of a layer, on the thread that generates:
// they are to be quick. (ReadingLine of runtime/cli/ is made for on_reading.)
struct GenerateCallbacks {
  std::function<void(Token token)> on_token;  // every sampled token, not the closing eos
  // Asked after each of them; true: the answer ends with it, at a stop string (runtime/engine/answer.h).
  std::function<bool()> enough;
  // While the prompt is read, how far that is: of its tokens that are not in the cache already.
  std::function<void(const RunProgress& progress)> on_reading;
  std::function<bool()> stop_now;  // true: Ctrl-C. Reading stops, or the token under way is given up
};

class Scheduler;

class Conversation {
 public:
  Conversation(Model& model, const Tokenizer& tokenizer);
  ~Conversation();

  // Makes the history equal to `prompt` (re-using the longest common prefix with what the cache holds, also of earlier
  // prompts), then samples until something stops it. An interrupted call keeps what was done (whole slices of the
  // prompt), so the next one resumes cheaply, with the same bits. Throws Error(usage): empty prompt; Error(resource):
  // the prompt does not fit the context (with both numbers).
  GenerateResult generate(std::span<const Token> prompt, Sampler& sampler, const GenerateOptions& options,
                          const GenerateCallbacks& callbacks = {});

  const std::vector<Token>& history() const;  // of the last call: the tokens the cache holds, in order
  int64_t context_left() const;
  void clear();

 private:
  Model& model_;
  std::unique_ptr<Scheduler> scheduler_;
  std::exception_ptr thrown_;                     // by a callback of the call at hand
  const GenerateCallbacks* callbacks_ = nullptr;  // of the call at hand
};

}  // namespace hearth
