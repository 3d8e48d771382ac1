// Files that are used one after the other, fetched ahead of their use: only so many of them lie on the disk at once.
#pragma once

#include <chrono>
#include <condition_variable>
#include <exception>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "runtime/hub/download_queue.h"

namespace hearth::hub {

struct FetchedAhead {
  uint64_t fetched = 0, total = 0;  // bytes; what an earlier run had fetched is in neither
  std::string file;                 // that bytes came of last; empty: nothing is being fetched
};

class FewAtATime {
 public:
  // Begins, in a thread of its own: `files` in this order into `cache`, whose folder is nobody else's and goes with the
  // last of them. At most `most` lie there at once, whole or begun; what an earlier run left of the first `most` stays,
  // all else in the folder is removed. Throws Error(file);
  // Error(format): two of them have the same content.
  FewAtATime(const FetchSettings& settings, const DownloadSource& source, std::vector<HubFile> files,
             const RepositoryCache& cache, size_t most);
  ~FewAtATime();  // what has come stays

  // Where a file lies, when it is whole and checked; empty: not within this time. Throws Error(resource), saying what
  // stopped the fetching, whatever kind of error it was.
  std::string wait_for(const std::string& path, std::chrono::milliseconds time);
  // A file that came is not needed any more, and makes room for another one. Throws Error(file).
  void done(const std::string& path);
  // Throws what stopped the fetching, as wait_for does.
  void check();
  void stop();  // fetching ends; what has come stays

  FetchedAhead progress();
  std::vector<std::string> take_told();  // waits that are worth telling (Tell), since the last call

 private:
  void clear_folder();
  void work();
  void fetch();
  void throw_error();
  bool may_begin(const HubFile& file);
  void tick(DownloadQueue& queue);
  const HubFile& file_named(const std::string& path) const;

  const FetchSettings settings_;
  const DownloadSource source_;
  const std::vector<HubFile> files_;
  std::map<std::string, const HubFile*> by_path_;
  const RepositoryCache cache_;
  const size_t most_;
  std::vector<const HubFile*> to_come_;  // that were not whole at the beginning
  uint64_t to_fetch_ = 0;                // their bytes
  std::mutex mutex_;                     // guards all below
  std::condition_variable arrived_, room_;
  std::set<std::string> lying_, whole_;  // checksums of files that lie there; that are checked
  size_t n_done_ = 0;
  bool stop_ = false;
  std::exception_ptr error_;
  FetchedAhead progress_;
  std::vector<std::string> told_;
  std::thread thread_;
};

}  // namespace hearth::hub
