// The scheduler with a thread of its own: requests come from any thread.
#pragma once

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "runtime/engine/scheduler.h"

namespace hearth {

class Engine final : public Generator {
 public:
  // Model and tokenizer must outlive this. Besides those that run, max_waiting requests may wait.
  Engine(Model& model, const Tokenizer& tokenizer, int64_t max_waiting);
  // What runs is interrupted, and its listeners are told.
  ~Engine() override;

  // Throws Error(resource) besides, once the backend has failed.
  uint64_t submit(GenerationRequest request, std::shared_ptr<GenerationListener> listener) override;
  void cancel(uint64_t request) override;
  EngineStatus status() const override;

 private:
  struct Arrival {
    uint64_t id;
    GenerationRequest request;
    std::shared_ptr<GenerationListener> listener;
  };

  void work();
  void take_in();
  double seconds_per_request() const;

  Model& model_;
  int64_t max_waiting_;
  Scheduler scheduler_;  // the thread's
  mutable std::mutex mutex_;
  std::condition_variable arrived_;
  std::vector<Arrival> arrivals_;  // of all that follow, mutex_ is the guard
  std::vector<uint64_t> cancelled_;
  EngineStatus status_;
  uint64_t n_submitted_ = 0, n_refused_ = 0;
  int64_t n_open_ = 0;  // submitted and not over
  std::string failure_;
  std::atomic<bool> over_{false};
  std::atomic<bool> came_{false};  // somebody is in arrivals_
  std::thread thread_;
};

}  // namespace hearth
