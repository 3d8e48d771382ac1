#include "runtime/hub/checker.h"

#include <utility>

#include "quant/error.h"
#include "runtime/hub/digest.h"

namespace hearth::hub {

Checker::Checker(const RepositoryCache& cache, Arrived arrived) : cache_(cache), arrived_(std::move(arrived)) {
  thread_ = std::thread([this] { work(); });
}

Checker::~Checker() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void Checker::add(const HubFile& file, PartialBlob blob, BlobLock lock) {
  {
    const std::lock_guard guard(mutex_);
    jobs_.push_back({&file, std::move(blob), std::move(lock)});
    bytes_waiting_ += file.size;
  }
  changed_.notify_all();
}

void Checker::rethrow() {
  const std::lock_guard guard(mutex_);
  if (thrown_) std::rethrow_exception(std::exchange(thrown_, nullptr));
}

bool Checker::idle() {
  const std::lock_guard guard(mutex_);
  return jobs_.empty() && !busy_;
}

void Checker::work() {
  for (;;) {
    std::unique_lock guard(mutex_);
    busy_ = false;
    changed_.wait(guard, [this] { return stop_ || !jobs_.empty(); });
    if (stop_) return;
    Job job = std::move(jobs_.front());
    jobs_.pop_front();
    busy_ = true;
    guard.unlock();
    try {
      check(job);
    } catch (...) {
      guard.lock();
      if (!thrown_ && !stop_) thrown_ = std::current_exception();
      stop_ = true;
      busy_ = false;
      return;
    }
    bytes_waiting_ -= job.file->size;
  }
}

void Checker::check(Job& job) {
  const HubFile& file = *job.file;
  const auto go_on = [this] { require(!stop_, ErrorKind::interrupted, "interrupted"); };
  const std::string found = digest_of(job.blob.fd(), file.size, file.is_sha256(), file.path, go_on);
  if (found != file.oid) {
    job.blob.remove();
    fail(ErrorKind::format, "{}: expected the {} {}, found {}: what was fetched is thrown away", file.path,
         file.is_sha256() ? "SHA-256" : "git checksum", file.oid, found);
  }
  job.blob.shorten();
  job.blob.rename_to(cache_.blob(file));
  arrived_(file);
}

}  // namespace hearth::hub
