#include "runtime/hub/few_at_a_time.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "quant/error.h"

namespace hearth::hub {

namespace fs = std::filesystem;

FewAtATime::FewAtATime(const FetchSettings& settings, const DownloadSource& source, std::vector<HubFile> files,
                       const RepositoryCache& cache, size_t most)
    : settings_(settings), source_(source), files_(std::move(files)), cache_(cache), most_(most) {
  std::set<std::string> checksums;
  for (const HubFile& file : files_) {
    by_path_[file.path] = &file;
    const bool is_new = checksums.insert(file.oid).second;
    require(is_new, ErrorKind::format, "{}: has the checksum of another file of the model, {}", file.path, file.oid);
  }
  clear_folder();
  if (files_.empty()) return;
  cache_.make_folders();
  thread_ = std::thread([this] { work(); });
}

FewAtATime::~FewAtATime() {
  stop();
}

void FewAtATime::stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  room_.notify_all();
  if (thread_.joinable()) thread_.join();
}

// Later files that lie there already would keep the next ones from coming.
void FewAtATime::clear_folder() {
  std::set<std::string> kept;
  for (size_t i = 0; i < std::min(most_, files_.size()); ++i) {
    for (const std::string& path : {cache_.blob(files_[i]), cache_.partial_blob(files_[i])}) {
      if (!fs::exists(path)) continue;
      kept.insert(fs::path(path).filename());
      lying_.insert(files_[i].oid);
    }
    if (cache_.has(files_[i])) whole_.insert(files_[i].oid);
  }
  for (const HubFile& file : files_) {
    if (whole_.contains(file.oid)) continue;
    to_come_.push_back(&file);
    to_fetch_ += file.size;
  }
  progress_.total = to_fetch_;
  std::error_code error;
  if (kept.empty()) {
    fs::remove_all(cache_.folder(), error);
    require(!error, ErrorKind::file, "{}: cannot remove: {}", cache_.folder(), error.message());
    return;
  }
  const fs::path blobs = fs::path(cache_.blob(files_[0])).parent_path();
  const auto remove_others = [&](const fs::path& folder, const auto& stays) {
    for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
      if (!stays(it->path().filename())) fs::remove_all(it->path(), error);
    }
  };
  remove_others(blobs, [&](const fs::path& name) { return kept.contains(name); });
  remove_others(cache_.folder(), [&](const fs::path& name) { return name == blobs.parent_path().filename(); });
  require(!error, ErrorKind::file, "{}: cannot clear: {}", cache_.folder(), error.message());
}

void FewAtATime::work() {
  std::exception_ptr error;
  try {
    fetch();
  } catch (...) {
    error = std::current_exception();
  }
  const std::lock_guard lock(mutex_);
  if (!stop_) error_ = error;
  progress_.file.clear();
  arrived_.notify_all();
}

// What was whole at the beginning may have gone by now, and is not fetched again.
void FewAtATime::fetch() {
  const auto arrived = [this](const HubFile& file) {
    const std::lock_guard lock(mutex_);
    whole_.insert(file.oid);
    arrived_.notify_all();
  };
  DownloadQueue queue(source_, to_come_, cache_, arrived, [this](const HubFile& file) { return may_begin(file); });
  const auto tell = [this](const std::string& text) {
    const std::lock_guard lock(mutex_);
    told_.push_back(text);
  };
  FetchLoop loop(
      settings_, [&] { tick(queue); }, tell);
  for (;;) {
    loop.run([&] { return queue.next(); });
    queue.hand_over();
    tick(queue);
    if (queue.all_begun() && queue.checker().idle()) break;
    std::unique_lock lock(mutex_);
    progress_.file.clear();
    room_.wait_for(lock, std::chrono::milliseconds(10));
  }
  queue.checker().rethrow();
}

bool FewAtATime::may_begin(const HubFile& file) {
  const std::lock_guard lock(mutex_);
  if (!lying_.contains(file.oid) && lying_.size() >= most_) return false;
  lying_.insert(file.oid);
  return true;
}

void FewAtATime::tick(DownloadQueue& queue) {
  queue.checker().rethrow();
  const std::lock_guard lock(mutex_);
  require(!stop_, ErrorKind::interrupted, "interrupted");
  progress_.fetched = queue.progress().fetched;
  progress_.total = to_fetch_ - std::min(to_fetch_, queue.progress().resumed);
  progress_.file = queue.progress().file;
}

void FewAtATime::throw_error() {
  if (!error_) return;
  try {
    std::rethrow_exception(error_);
  } catch (const Error& error) {
    throw Error(ErrorKind::resource, error.what());
  }
}

void FewAtATime::check() {
  const std::lock_guard lock(mutex_);
  throw_error();
}

std::string FewAtATime::wait_for(const std::string& path, std::chrono::milliseconds time) {
  const HubFile& file = file_named(path);
  std::unique_lock lock(mutex_);
  arrived_.wait_for(lock, time, [&] { return error_ || whole_.contains(file.oid); });
  if (whole_.contains(file.oid)) return cache_.blob(file);
  throw_error();
  return "";
}

void FewAtATime::done(const std::string& path) {
  const HubFile& file = file_named(path);
  require(unlink(cache_.blob(file).c_str()) == 0, ErrorKind::file, "{}: cannot remove: {}", cache_.blob(file),
          std::generic_category().message(errno));
  bool all = false;
  {
    const std::lock_guard lock(mutex_);
    lying_.erase(file.oid);
    all = ++n_done_ == files_.size();
  }
  room_.notify_all();
  if (!all) return;
  stop();
  std::error_code error;
  fs::remove_all(cache_.folder(), error);
  require(!error, ErrorKind::file, "{}: cannot remove: {}", cache_.folder(), error.message());
}

FetchedAhead FewAtATime::progress() {
  const std::lock_guard lock(mutex_);
  return progress_;
}

std::vector<std::string> FewAtATime::take_told() {
  const std::lock_guard lock(mutex_);
  return std::exchange(told_, {});
}

const HubFile& FewAtATime::file_named(const std::string& path) const {
  const auto found = by_path_.find(path);
  require(found != by_path_.end(), ErrorKind::usage, "{}: not a file that is fetched", path);
  return *found->second;
}

}  // namespace hearth::hub
