#include "runtime/engine/scheduler.h"

#include <algorithm>
#include <cassert>
#include <numeric>

#include "runtime/engine/logprobs.h"
#include "runtime/offload/hybrid.h"
#include "runtime/support/seconds_since.h"

namespace hearth {
namespace {

constexpr double kPause = 0.75;         // seconds that a slice may take while somebody decodes
constexpr int64_t kShortSlice = 32;     // tokens: as long as nobody knows how fast reading is, and never fewer
constexpr double kReadingShare = 0.65;  // seconds of reading for one of decoding
constexpr int64_t kBearable = 512;      // tokens of a slice whose end whoever comes may wait for
constexpr double kPatience = 2;         // seconds that he waits for the end of a longer one
constexpr size_t kMostSamplers = 8;     // threads

}  // namespace

struct Scheduler::Sequence {
  uint64_t id = 0;
  GenerationRequest request;
  std::shared_ptr<GenerationListener> listener;
  std::optional<Sampler> own_sampler;
  Sampler& sampler;
  std::vector<Token> tokens;  // the prompt, then what was sampled; the last of these is not in the cache yet
  KvCache cache;
  size_t place = 0;         // its row of the logits
  std::vector<Entry> best;  // the best logits, where these are enough; empty: all are wanted
  Clock::time_point since = Clock::now();
  GenerationSummary summary;
  GeneratedToken next;  // chosen, and not yet told
  std::optional<Error> failure;
  bool gave_way = false;  // its last slice was given up for another request

  Sequence(uint64_t id, GenerationRequest request, std::shared_ptr<GenerationListener> listener, KvCache cache)
      : id(id),
        request(std::move(request)),
        listener(std::move(listener)),
        own_sampler(this->request.sampler ? std::nullopt : std::optional<Sampler>(this->request.sampling)),
        sampler(own_sampler ? *own_sampler : *this->request.sampler),
        tokens(this->request.prompt),
        cache(std::move(cache)) {}

  int64_t n_prompt() const { return int64_t(request.prompt.size()); }
  int64_t unread() const { return n_prompt() - cache.length(); }  // of the prompt; none: it decodes
};

std::vector<Token> unused_tokens(const ModelConfig& config, const Tokenizer& tokenizer) {
  std::vector<Token> unused;
  for (int64_t id = 0; id < config.vocab_size; ++id)
    if (id >= int64_t(tokenizer.size()) || tokenizer.is_unused(Token(id))) unused.push_back(Token(id));
  return unused;
}

Scheduler::Scheduler(Model& model, const Tokenizer& tokenizer, SchedulerOptions options)
    : model_(model),
      tokenizer_(tokenizer),
      options_(std::move(options)),
      prefixes_(model.pool()),
      crew_(std::min<size_t>(kMostSamplers, std::max(1u, std::thread::hardware_concurrency()))),
      free_places_(size_t(model.options().n_sequences)),
      logits_(free_places_.size() * size_t(model.config().vocab_size)) {
  std::iota(free_places_.rbegin(), free_places_.rend(), 0);
}

Scheduler::~Scheduler() = default;

void Scheduler::check(const GenerationRequest& request) const {
  require(!request.prompt.empty(), ErrorKind::usage, "the prompt is empty");
  const int64_t n_prompt = int64_t(request.prompt.size()), n_ctx = model_.options().n_ctx;
  if (n_prompt > n_ctx) throw ContextOverflow(n_prompt, n_ctx);
  for (const Token token : request.prompt) {
    require(token >= 0 && token < model_.config().vocab_size, ErrorKind::usage, "token {}: expected 0 to {}", token,
            model_.config().vocab_size - 1);
  }
  const Sampler checked(request.sampling);
}

void Scheduler::add(uint64_t id, GenerationRequest request, std::shared_ptr<GenerationListener> listener) {
  auto sequence = std::make_unique<Sequence>(id, std::move(request), std::move(listener), model_.new_cache());
  if (sequence->own_sampler) sequence->sampler.forbid(options_.forbidden);
  waiting_.push_back(std::move(sequence));
}

void Scheduler::cancel(uint64_t id) {
  const auto is_it = [&](const std::unique_ptr<Sequence>& s) { return s->id == id; };
  if (const auto it = std::ranges::find_if(waiting_, is_it); it != waiting_.end()) {
    const std::unique_ptr<Sequence> sequence = std::move(*it);
    waiting_.erase(it);
    ++counts_.cancelled;
    sequence->summary.reason = StopReason::interrupted;
    sequence->listener->finished(sequence->summary);
  } else if (const auto it = std::ranges::find_if(running_, is_it); it != running_.end()) {
    finish(**it, StopReason::interrupted);
  }
}

void Scheduler::cancel_all() {
  while (!waiting_.empty()) cancel(waiting_.front()->id);
  while (!running_.empty()) cancel(running_.front()->id);
}

bool Scheduler::is_decoding(const Sequence& s) const {
  return s.unread() <= 0;
}

bool Scheduler::somebody_decodes() const {
  return std::ranges::any_of(running_, [&](const auto& s) { return is_decoding(*s); });
}

std::span<float> Scheduler::logits_of(const Sequence& s) {
  const size_t V = size_t(model_.config().vocab_size);
  return std::span(logits_).subspan(s.place * V, V);
}

void Scheduler::admit() {
  while (!waiting_.empty() && !free_places_.empty()) {
    running_.push_back(std::move(waiting_.front()));
    waiting_.pop_front();
    begin(*running_.back());
  }
}

// Takes over what the cache holds of the prompt, where that is more than was read of it: of sequences that ended, or of
// one that runs. The prompt's last token is always run: its logits are wanted.
void Scheduler::share(Sequence& s) {
  const std::span most = std::span(s.tokens).first(size_t(s.n_prompt() - 1));
  Prefixes::Found best = prefixes_.find(most);
  for (const auto& other : running_) {
    if (other.get() == &s) continue;
    const std::span there = std::span(other->tokens).first(size_t(other->cache.length()));
    if (const size_t n = common_prefix(there, most); n > best.length) best = {&other->cache, n};
  }
  const int64_t gained = int64_t(best.length) - s.cache.length();
  if (gained <= 0) return;
  s.cache = best.cache->fork(int64_t(best.length));
  s.summary.cached_tokens += gained;
  counts_.cached_tokens += uint64_t(gained);
}

void Scheduler::begin(Sequence& s) {
  s.place = free_places_.back();
  free_places_.pop_back();
  s.best.resize(size_t(best_wanted(s)));
  share(s);
  s.summary.prompt_tokens = s.n_prompt();
  s.summary.queued_seconds = seconds_since(s.since);
  s.since = Clock::now();
  counts_.prompt_tokens += uint64_t(s.n_prompt());
  s.listener->reading({s.n_prompt(), s.summary.cached_tokens, s.cache.length(), 0});
}

// How many of the best logits of a row are enough for this sequence, where a GPU need not hand out the others; 0: all.
// The tokens that are none of the best are the same for all who run.
int64_t Scheduler::best_wanted(const Sequence& s) {
  const int64_t enough = enough_logits(s.sampler.options());
  if (!runs_on_gpu(model_) || enough == 0 || enough > kMostLargest) return 0;
  if (s.request.n_logprobs >= 0 || s.request.constraint) return 0;
  const std::span<const Token> forbidden = s.sampler.forbidden();
  if (!std::ranges::equal(forbidden, left_out_)) {
    if (running_.size() > 1) return 0;
    left_out_.assign(forbidden.begin(), forbidden.end());
    model_.leave_out(left_out_);
  }
  return std::min(enough, model_.config().vocab_size);
}

void Scheduler::step() {
  admit();
  if (running_.empty()) return;
  if (Sequence* s = to_read()) return read_slice(*s);
  decode();
}

// Whose prompt is read now; null: nobody's.
Scheduler::Sequence* Scheduler::to_read() {
  Sequence *oldest = nullptr, *shortest = nullptr;
  bool decoding = false;
  for (const auto& s : running_) {
    decoding = decoding || is_decoding(*s);
    if (is_decoding(*s)) continue;
    if (!oldest) oldest = s.get();
    if (!shortest || s->unread() < shortest->unread()) shortest = s.get();
  }
  if (!decoding) credit_ = 0;
  if (!oldest || credit_ < 0) return nullptr;
  last_was_short_ = !last_was_short_ && shortest != oldest && shortest->unread() <= slice_length(*shortest);
  return last_was_short_ ? shortest : oldest;
}

int64_t Scheduler::slice_length(const Sequence& s) const {
  const int64_t ubatch = model_.options().ubatch;
  if (!somebody_decodes()) return s.gave_way ? std::min(kBearable, ubatch) : ubatch;
  return std::min(std::max(int64_t(reading_rate_ * kPause), kShortSlice), ubatch);
}

// Whether a slice of n tokens that began at `start` and is so far is given up for a request that has come.
bool Scheduler::gives_way(int64_t n, double share, Clock::time_point start) const {
  if (n <= kBearable || free_places_.empty() || !options_.somebody_came || !options_.somebody_came()) return false;
  return (1 - share) * seconds_since(start) >= share * kPatience;
}

// Pages for what comes, at the cost of prefixes. (Sequences that run never take more than the pool has: it is made for
// as many as may run.)
void Scheduler::make_room(std::span<const NextTokens> segments) {
  int64_t n_pages = 0, longest = 0;
  for (const NextTokens& next : segments) {
    n_pages += next.cache->pages_wanted(int64_t(next.tokens.size()));
    longest = std::max(longest, next.cache->length() + int64_t(next.tokens.size()));
  }
  prefixes_.make_room(n_pages, longest);
}

// The segment of a step that is these tokens; the last ones before something is chosen.
NextTokens Scheduler::next(Sequence& s, std::span<const Token> tokens, bool last) {
  NextTokens next = {tokens, &s.cache};
  if (last && s.best.empty()) next.logits = logits_of(s);
  if (last) next.best = s.best;
  return next;
}

// False: given up.
bool Scheduler::run(std::span<const NextTokens> segments, const std::function<bool(const RunProgress&)>& watch) try {
  make_room(segments);
  return model_.step(segments, watch);
} catch (const Error& error) {
  fail_all(error);
  return false;
}

void Scheduler::read_slice(Sequence& s) {
  share(s);  // others may have read the same since
  const int64_t n = std::min(s.unread(), slice_length(s)), cached = s.summary.cached_tokens, before = s.cache.length();
  const bool pauses = somebody_decodes(), last = n == s.unread();
  const NextTokens slice = next(s, std::span(s.tokens).subspan(size_t(before), size_t(n)), last);
  const uint64_t id = s.id;
  const auto start = Clock::now();
  s.gave_way = false;
  const auto watch = [&](const RunProgress& at) {
    if (interrupted_.load(std::memory_order_relaxed) == id) return false;
    if ((s.gave_way = gives_way(n, at.share, start))) return false;
    const int64_t total = s.n_prompt() - cached, done = before - cached;
    const RunProgress progress = {done, total, (double(done) + at.share * double(n)) / double(total)};
    return !options_.watch || options_.watch(&progress);
  };
  const bool complete = run({&slice, 1}, watch);
  if (running_.empty()) return;  // it failed
  const double seconds = seconds_since(start);
  counts_.prefill_seconds += seconds;
  s.summary.prefill_seconds = seconds_since(s.since);
  if (pauses) credit_ -= seconds;
  if (s.gave_way) return;
  if (!complete) return finish(s, StopReason::interrupted);
  // (Of a long slice a token takes less time than of those that are cut by this rate.)
  if (n >= kShortSlice && (pauses || n <= kBearable)) reading_rate_ = double(n) / seconds;
  s.listener->reading({s.n_prompt(), cached, s.cache.length(), s.summary.prefill_seconds});
  if (!last) return;
  s.since = Clock::now();
  if (s.request.max_tokens == 0) return finish(s, StopReason::max_tokens);
  sample(s);
  accept(s);
}

// One token of each sequence that decodes; of as many as may be in a step, those that waited longest first.
void Scheduler::decode() {
  std::vector<Sequence*> sequences;
  std::vector<NextTokens> segments;
  for (const auto& s : running_) {
    if (!is_decoding(*s) || int64_t(segments.size()) == model_.options().ubatch) continue;
    sequences.push_back(s.get());
    segments.push_back(next(*s, std::span(s->tokens).last(1), true));
  }
  const auto start = Clock::now();
  const auto watch = [&](const RunProgress&) { return !options_.watch || options_.watch(nullptr); };
  const bool complete = run(segments, watch);
  if (running_.empty()) return;  // all failed
  const double seconds = seconds_since(start);
  counts_.decode_seconds += seconds;
  credit_ = std::min(credit_ + kReadingShare * seconds, 0.0);
  if (!complete) {
    for (Sequence* s : sequences) finish(*s, StopReason::interrupted);
    return;
  }
  ++counts_.decode_steps;
  counts_.decode_rows += sequences.size();
  for (Sequence* s : sequences) ++s->summary.decode_steps;
  crew_.run(sequences.size(), [&](size_t i) { sample(*sequences[i]); });
  for (Sequence* s : sequences) accept(*s);
}

// Chooses the next token. On any thread: touches nothing but this sequence.
void Scheduler::sample(Sequence& s) try {
  if (!s.best.empty()) {
    std::vector<TokenLogit> best;
    for (const Entry& entry : s.best) best.push_back({entry.column, entry.value});
    s.next = {s.sampler.sample_best(best)};
    return;
  }
  const std::span<const float> logits = logits_of(s);
  const Past past = {s.tokens, size_t(s.summary.generated_tokens)};
  Constraint* const constraint = s.request.constraint.get();
  const Token token = s.sampler.sample(logits, past, constraint ? constraint->allowed() : std::span<const uint64_t>());
  if (constraint) constraint->accept(token);
  const int n = s.request.n_logprobs;
  s.next = n < 0 ? GeneratedToken{token} : with_logprobs(token, logits, s.sampler.forbidden(), n);
} catch (const Error& error) {
  s.failure = error;
}

// Tells the token that was chosen, and sees whether the answer ends.
void Scheduler::accept(Sequence& s) {
  if (s.failure) return fail(s, *s.failure);
  const Token token = s.next.token;
  const GenerationRequest& request = s.request;
  if (tokenizer_.ends_text(token) && !request.ignore_eos) return finish(s, StopReason::eos);
  if (std::ranges::find(request.stop_tokens, token) != request.stop_tokens.end()) return finish(s, StopReason::eos);
  s.tokens.push_back(token);
  ++s.summary.generated_tokens;
  ++counts_.generated_tokens;
  if (!s.listener->token(s.next)) return finish(s, StopReason::stop_string);
  // No logits are wanted after the last token that was asked for, so it is not run.
  if (s.summary.generated_tokens == request.max_tokens) return finish(s, StopReason::max_tokens);
  if (s.cache.length() == s.cache.capacity()) return finish(s, StopReason::context_full);
}

void Scheduler::finish(Sequence& s, StopReason reason) {
  s.summary.reason = reason;
  if (is_decoding(s)) s.summary.decode_seconds = seconds_since(s.since);
  ++(reason == StopReason::interrupted ? counts_.cancelled : counts_.finished);
  const std::shared_ptr<GenerationListener> listener = s.listener;
  const GenerationSummary summary = s.summary;
  s.tokens.resize(size_t(s.cache.length()));
  s.cache.truncate(s.cache.length());  // without what was reserved
  last_tokens_ = s.tokens;
  prefixes_.keep(std::move(s.tokens), std::move(s.cache));
  leave(s);
  listener->finished(summary);
}

void Scheduler::fail(Sequence& s, Error error) {
  ++counts_.failed;
  const std::shared_ptr<GenerationListener> listener = s.listener;
  leave(s);
  listener->failed(error);
}

// The backend has failed: nothing that the cache holds is to be used.
void Scheduler::fail_all(const Error& error) {
  forget_prefixes();
  while (!running_.empty()) fail(*running_.front(), error);
}

void Scheduler::leave(Sequence& s) {
  free_places_.push_back(s.place);
  running_.remove_if([&](const std::unique_ptr<Sequence>& other) { return other.get() == &s; });
}

void Scheduler::forget_prefixes() {
  prefixes_.clear();
  last_tokens_.clear();
}

EngineStatus Scheduler::status() const {
  EngineStatus status = counts_;
  status.running = int64_t(running_.size());
  status.waiting = int64_t(waiting_.size());
  status.max_running = model_.options().n_sequences;
  status.n_ctx = model_.options().n_ctx;
  status.pages = model_.pool().n_pages();
  status.used_pages = status.pages - model_.pool().n_free();
  status.kept_pages = prefixes_.n_pages();
  status.page_positions = kPagePositions;
  if (const Hybrid* hybrid = model_.hybrid()) {
    const HybridCounts& counts = hybrid->counts();
    status.experts_chosen = counts.chosen;
    status.experts_on_gpu = counts.on_gpu;
    status.host_bytes = counts.host_bytes;
    status.gpu_bytes = counts.gpu_bytes;
    status.host_seconds = counts.host_seconds;
  }
  return status;
}

}  // namespace hearth
