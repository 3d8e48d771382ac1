#include "runtime/engine/engine.h"

#include <algorithm>
#include <utility>

namespace hearth {
namespace {

// Counts a request that is over before whoever asked hears of it: he may ask for the next one then.
class Counted final : public GenerationListener {
 public:
  Counted(std::shared_ptr<GenerationListener> told, std::function<void()> over)
      : told_(std::move(told)), over_(std::move(over)) {}
  void reading(const ReadingProgress& progress) override { told_->reading(progress); }
  bool token(const GeneratedToken& token) override { return told_->token(token); }
  void finished(const GenerationSummary& summary) override {
    over_();
    told_->finished(summary);
  }
  void failed(const Error& error) override {
    over_();
    told_->failed(error);
  }

 private:
  std::shared_ptr<GenerationListener> told_;
  std::function<void()> over_;
};

}  // namespace

Engine::Engine(Model& model, const Tokenizer& tokenizer, int64_t max_waiting)
    : model_(model),
      max_waiting_(max_waiting),
      scheduler_(model, tokenizer,
                 {.forbidden = unused_tokens(model.config(), tokenizer),
                  .watch = [this](const RunProgress*) { return !over_.load(std::memory_order_relaxed); },
                  .somebody_came = [this] { return came_.load(std::memory_order_relaxed); }}),
      status_(scheduler_.status()),
      thread_([this] { work(); }) {}

Engine::~Engine() {
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
  }
  arrived_.notify_one();
  thread_.join();
}

uint64_t Engine::submit(GenerationRequest request, std::shared_ptr<GenerationListener> listener) {
  scheduler_.check(request);
  uint64_t id = 0;
  {
    const std::lock_guard lock(mutex_);
    require(failure_.empty(), ErrorKind::resource, "{}", failure_);
    if (n_open_ >= max_waiting_ + model_.options().n_sequences) {
      ++n_refused_;
      throw QueueFull(max_waiting_, seconds_per_request());
    }
    ++n_open_;
    id = ++n_submitted_;
    const auto over = [this] {
      const std::lock_guard lock(mutex_);
      --n_open_;
    };
    arrivals_.push_back({id, std::move(request), std::make_shared<Counted>(std::move(listener), over)});
    came_ = true;
  }
  arrived_.notify_one();
  return id;
}

void Engine::cancel(uint64_t request) {
  {
    const std::lock_guard lock(mutex_);
    cancelled_.push_back(request);
  }
  scheduler_.interrupt(request);
  arrived_.notify_one();
}

EngineStatus Engine::status() const {
  const std::lock_guard lock(mutex_);
  EngineStatus status = status_;  // as it was before the step at hand; but for who is here now:
  status.running = std::min(n_open_, status.max_running);
  status.waiting = n_open_ - status.running;
  status.max_waiting = max_waiting_;
  status.refused = n_refused_;
  return status;
}

// How long until somebody who waits in vain may try again: what requests have taken so far, on average.
double Engine::seconds_per_request() const {
  const double n = double(status_.finished + status_.cancelled);
  const double seconds = status_.prefill_seconds + status_.decode_seconds;
  return n > 0 ? std::clamp(seconds / n, 1.0, 60.0) : 1.0;
}

void Engine::take_in() {
  std::vector<Arrival> arrivals;
  std::vector<uint64_t> cancelled;
  {
    std::unique_lock lock(mutex_);
    status_ = scheduler_.status();
    if (!scheduler_.busy()) {
      arrived_.wait(lock, [&] { return over_ || !arrivals_.empty() || !cancelled_.empty(); });
    }
    arrivals = std::exchange(arrivals_, {});
    came_ = false;
    cancelled = std::exchange(cancelled_, {});
  }
  for (Arrival& arrival : arrivals) scheduler_.add(arrival.id, std::move(arrival.request), std::move(arrival.listener));
  for (const uint64_t id : cancelled) scheduler_.cancel(id);
}

void Engine::work() {
  for (;;) {
    take_in();
    if (over_) break;
    scheduler_.step();
    if (!model_.works()) {
      const std::lock_guard lock(mutex_);
      failure_ = "the backend has failed: the program must be started anew";
    }
  }
  scheduler_.cancel_all();
}

}  // namespace hearth
