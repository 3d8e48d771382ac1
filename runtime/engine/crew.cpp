#include "runtime/engine/crew.h"

#include <algorithm>
#include <system_error>

namespace hearth {

Crew::~Crew() {
  {
    const std::lock_guard lock(mutex_);
    over_ = true;
  }
  begun_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

bool Crew::take(size_t* i) {
  const std::lock_guard lock(mutex_);
  if (next_ >= n_) return false;
  *i = next_++;
  return true;
}

void Crew::work() {
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      begun_.wait(lock, [&] { return over_ || next_ < n_; });
      if (over_) return;
    }
    for (size_t i; take(&i);) {
      (*job_)(i);
      const std::lock_guard lock(mutex_);
      if (--left_ == 0) done_.notify_one();
    }
  }
}

void Crew::run(size_t n, const std::function<void(size_t)>& job) {
  if (n == 0) return;
  if (n == 1) return job(0);
  {
    const std::lock_guard lock(mutex_);
    job_ = &job;
    n_ = left_ = n;
    next_ = 0;
  }
  try {
    while (threads_.size() + 1 < std::min(n, most_)) threads_.emplace_back([this] { work(); });
  } catch (const std::system_error&) {  // then fewer do it
  }
  begun_.notify_all();
  for (size_t i; take(&i);) {
    job(i);
    const std::lock_guard lock(mutex_);
    --left_;
  }
  std::unique_lock lock(mutex_);
  done_.wait(lock, [&] { return left_ == 0; });
  n_ = 0;
}

}  // namespace hearth
