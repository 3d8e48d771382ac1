// Files of one commit on their way into a cache: which piece of which file is to be fetched next.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "runtime/hub/cache.h"
#include "runtime/hub/checker.h"
#include "runtime/hub/fetch_loop.h"
#include "runtime/hub/partial_blob.h"
#include "runtime/hub/remote_file.h"

namespace hearth::hub {

struct DownloadProgress {
  uint64_t fetched = 0;   // bytes, by this process
  uint64_t resumed = 0;   // bytes that an earlier one had fetched, of the files begun so far
  uint64_t to_check = 0;  // bytes that are there and not checked yet
  std::string file;       // that bytes came of last; empty: nothing is left to fetch
};

class DownloadQueue {
 public:
  // `files` in their order, one after the other: pieces of the next one are fetched where connections are left.
  // `may_begin` is asked before a file takes room; null: any may. All must outlive the queue.
  using MayBegin = std::function<bool(const HubFile&)>;
  DownloadQueue(const DownloadSource& source, std::vector<const HubFile*> files, const RepositoryCache& cache,
                Checker::Arrived arrived, MayBegin may_begin = {});
  ~DownloadQueue();

  // For FetchLoop::run. Null: nothing for now.
  std::unique_ptr<Fetch> next();
  // What is whole goes to the checker.
  void hand_over();
  bool all_begun() const { return next_file_ == files_.size(); }
  bool next_may_begin() const { return !all_begun() && may_begin_(*files_[next_file_]); }

  Checker& checker() { return checker_; }
  DownloadProgress& progress() { return progress_; }

 private:
  struct OpenFile;
  class PieceFetch;
  static std::unique_ptr<Fetch> next_piece(OpenFile& open);
  bool is_begun(const HubFile& file) const;

  const DownloadSource& source_;
  const RepositoryCache& cache_;
  MayBegin may_begin_;
  DownloadProgress progress_;
  std::vector<const HubFile*> files_;
  std::vector<std::string> given_;  // to be checked
  size_t next_file_ = 0;
  std::list<OpenFile> open_;
  Checker checker_;
};

}  // namespace hearth::hub
