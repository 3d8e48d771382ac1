// Compares what was fetched with the hub's checksum, beside the fetching, and gives it its name.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>

#include "runtime/hub/cache.h"
#include "runtime/hub/partial_blob.h"

namespace hearth::hub {

class Checker {
 public:
  // `arrived` is told of each file that has its name, by the checker's thread.
  using Arrived = std::function<void(const HubFile&)>;
  Checker(const RepositoryCache& cache, Arrived arrived);
  ~Checker();  // what is not checked by then stays as it is, for the next time

  // A file that is whole: checked and renamed, one after another. One that differs is thrown away.
  void add(const HubFile& file, PartialBlob blob, BlobLock lock);
  // Throws what checking has thrown: Error(format) where a file is not what the hub said.
  void rethrow();
  bool idle();
  uint64_t bytes_waiting() const { return bytes_waiting_; }  // about: of the files that are not checked yet

 private:
  struct Job {
    const HubFile* file;
    PartialBlob blob;
    BlobLock lock;
  };
  void work();
  void check(Job& job);

  const RepositoryCache& cache_;
  Arrived arrived_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  bool busy_ = false;
  std::exception_ptr thrown_;
  std::atomic<bool> stop_ = false;
  std::atomic<uint64_t> bytes_waiting_ = 0;
  std::thread thread_;
};

}  // namespace hearth::hub
