// Many sequences through one model, step by step, on one thread: `chat` and `run` drive it themselves, a server's
// engine (engine.h) has a thread for it.
//
// A step is either one token of every sequence that decodes, so that weights are read once for all of them, or a slice
// of one prompt. While some decode, prompts get less than half of the time, in slices short enough that no pause is
// long. (Both in one step would cost the decoding ones the whole slice.) The oldest prompt comes first, but every other
// turn goes to one that a single slice completes: a short question does not wait for a long text. Where nobody decodes
// a slice may be long (host_ubatch.h); if a request comes that could begin and the slice would take seconds more, it is
// given up, and the next one of that prompt is short.
#pragma once

#include <atomic>
#include <chrono>
#include <deque>
#include <functional>
#include <list>
#include <memory>
#include <vector>

#include "runtime/engine/crew.h"
#include "runtime/engine/generation.h"
#include "runtime/engine/model.h"
#include "runtime/engine/prefixes.h"
#include "runtime/engine/sampler.h"
#include "runtime/tokenizer/tokenizer.h"

namespace hearth {

struct SchedulerOptions {
  std::vector<Token> forbidden = {};  // tokens that nobody may be given (unused_tokens)
  // Asked all the time while a step runs, with how far it is with the prompt it reads, if it does; false: the step is
  // given up, and the sequences in it end, interrupted.
  std::function<bool(const RunProgress* reading)> watch = {};
  // Asked likewise: whether a request has come that `add` has not been given yet.
  std::function<bool()> somebody_came = {};
};

// Rows of the head beyond the vocabulary, and entries that only pad it.
std::vector<Token> unused_tokens(const ModelConfig& config, const Tokenizer& tokenizer);

class Scheduler {
 public:
  Scheduler(Model& model, const Tokenizer& tokenizer, SchedulerOptions options = {});
  ~Scheduler();

  // Throws as Generator::submit does, without QueueFull. From any thread.
  void check(const GenerationRequest& request) const;
  // A request that was checked. It waits until fewer than n_sequences run.
  void add(uint64_t id, GenerationRequest request, std::shared_ptr<GenerationListener> listener);
  void cancel(uint64_t id);
  void cancel_all();
  bool busy() const { return !waiting_.empty() || !running_.empty(); }
  // One step of the model for whoever's turn it is. Throws nothing: listeners are told.
  void step();
  // From any thread: if the slice under way is of this request's prompt, it is given up.
  void interrupt(uint64_t id) { interrupted_.store(id, std::memory_order_relaxed); }

  EngineStatus status() const;
  // What the sequence that ended last left in the cache.
  const std::vector<Token>& last_tokens() const { return last_tokens_; }
  void forget_prefixes();

 private:
  using Clock = std::chrono::steady_clock;
  struct Sequence;

  void admit();
  void begin(Sequence& s);
  void share(Sequence& s);
  int64_t best_wanted(const Sequence& s);
  Sequence* to_read();
  int64_t slice_length(const Sequence& s) const;
  bool gives_way(int64_t n, double share, Clock::time_point start) const;
  void read_slice(Sequence& s);
  void decode();
  void sample(Sequence& s);
  void accept(Sequence& s);
  bool run(std::span<const NextTokens> segments, const std::function<bool(const RunProgress&)>& watch);
  void finish(Sequence& s, StopReason reason);
  void fail(Sequence& s, Error error);  // a copy: it may be the sequence's own, which goes
  void fail_all(const Error& error);
  void leave(Sequence& s);
  bool is_decoding(const Sequence& s) const;
  bool somebody_decodes() const;
  NextTokens next(Sequence& s, std::span<const Token> tokens, bool last);
  std::span<float> logits_of(const Sequence& s);
  void make_room(std::span<const NextTokens> segments);

  Model& model_;
  const Tokenizer& tokenizer_;
  SchedulerOptions options_;
  Prefixes prefixes_;
  Crew crew_;
  std::deque<std::unique_ptr<Sequence>> waiting_;
  std::list<std::unique_ptr<Sequence>> running_;  // the oldest first
  std::vector<size_t> free_places_;               // rows of logits_
  std::vector<float> logits_;                     // [n_sequences, V]
  std::vector<Token> left_out_;                   // of the best logits that the model gives
  std::atomic<uint64_t> interrupted_{0};
  double reading_rate_ = 0;  // tok/s of the last slices
  double credit_ = 0;        // seconds that decoding is ahead of reading; reading waits while it is negative
  bool last_was_short_ = false;
  std::vector<Token> last_tokens_;
  EngineStatus counts_;
};

}  // namespace hearth
