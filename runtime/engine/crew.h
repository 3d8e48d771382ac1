// Threads that do a few jobs at once, none of which is long: choosing the next tokens of several sequences.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace hearth {

class Crew {
 public:
  // Nobody is hired before there is something to do for two.
  explicit Crew(size_t most) : most_(most) {}
  ~Crew();
  Crew(const Crew&) = delete;

  // Does job(i) for every i below n, on this thread and others; returns when all are done. Jobs throw nothing.
  void run(size_t n, const std::function<void(size_t)>& job);

 private:
  void work();
  bool take(size_t* i);

  size_t most_;
  std::mutex mutex_;
  std::condition_variable begun_, done_;
  const std::function<void(size_t)>* job_ = nullptr;
  size_t n_ = 0, next_ = 0, left_ = 0;
  bool over_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace hearth
