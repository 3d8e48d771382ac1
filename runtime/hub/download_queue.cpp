#include "runtime/hub/download_queue.h"

#include <algorithm>
#include <optional>
#include <span>
#include <utility>

#include "quant/error.h"

namespace hearth::hub {

// A file that is being fetched.
struct DownloadQueue::OpenFile {
  DownloadProgress& progress;
  BlobLock lock;
  PartialBlob blob;
  RemoteFile remote;
  size_t next_piece = 0;  // all before are whole, or being fetched
  size_t n_running = 0;

  OpenFile(const HubFile& file, const DownloadSource& source, const RepositoryCache& cache, DownloadProgress& progress)
      : progress(progress), lock(cache.lock(file)), blob(cache.partial_blob(file), file.size), remote(file, source) {
    progress.resumed += blob.n_bytes();
  }
};

class DownloadQueue::PieceFetch : public Fetch {
 public:
  PieceFetch(OpenFile& open, size_t piece) : open_(open), piece_(piece) { ++open_.n_running; }
  ~PieceFetch() override { --open_.n_running; }

  std::string name() const override { return open_.remote.file().path; }
  std::string url() const override { return open_.remote.url(); }
  std::optional<ByteRange> range() const override {
    if (next() == 0 && open_.blob.end_of(piece_) == open_.blob.size()) return std::nullopt;
    return ByteRange{next(), open_.blob.end_of(piece_) - 1};
  }
  void passed(const std::string& url, const HttpHead& head) override { open_.remote.passed(url, head); }

  // Hubs that send no parts of small files send the whole again.
  void begin(const std::string& url, const HttpHead& head) override {
    skip_ = 0;
    open_.remote.passed(url, head);
    if (head.status == 206) {
      open_.remote.check_part(head, range());
    } else {
      require(open_.blob.n_pieces() == 1, ErrorKind::format,
              "{}: expected a part of the file (206), found all of it (200)", name());
      open_.remote.check_whole(head);
      skip_ = next();
    }
    open_.remote.begins(url, head);
  }

  size_t take(std::string_view bytes) override {
    const size_t skipped = size_t(std::min<uint64_t>(skip_, bytes.size()));
    skip_ -= skipped;
    bytes.remove_prefix(skipped);
    const uint64_t missing = open_.blob.end_of(piece_) - next();
    require(bytes.size() <= missing, ErrorKind::format, "{}: expected {} bytes, and more came", name(),
            open_.blob.size());
    open_.blob.append(piece_, std::as_bytes(std::span(bytes)));
    open_.progress.fetched += bytes.size();
    open_.progress.file = name();
    return bytes.size();
  }

  bool is_whole(bool) const override { return open_.blob.has_all_of(piece_); }
  void address_failed() override { open_.remote.address_failed(); }

 private:
  uint64_t next() const { return open_.blob.begin_of(piece_) + open_.blob.count_of(piece_); }

  OpenFile& open_;
  size_t piece_;
  uint64_t skip_ = 0;  // bytes that are there, and come again
};

DownloadQueue::DownloadQueue(const DownloadSource& source, std::vector<const HubFile*> files,
                             const RepositoryCache& cache, Checker::Arrived arrived, MayBegin may_begin)
    : source_(source),
      cache_(cache),
      may_begin_(may_begin ? std::move(may_begin) : [](const HubFile&) { return true; }),
      files_(std::move(files)),
      checker_(cache, std::move(arrived)) {}

DownloadQueue::~DownloadQueue() = default;

std::unique_ptr<Fetch> DownloadQueue::next() {
  hand_over();
  for (OpenFile& open : open_) {
    if (!open.remote.is_located() && open.n_running > 0) continue;  // its first answer tells where it is
    if (auto piece = next_piece(open)) return piece;
  }
  while (next_may_begin()) {
    const HubFile& file = *files_[next_file_++];
    if (cache_.has(file) || is_begun(file)) continue;  // of the same content as another one
    open_.emplace_back(file, source_, cache_, progress_);
    if (auto piece = next_piece(open_.back())) return piece;
    hand_over();
  }
  return nullptr;
}

void DownloadQueue::hand_over() {
  for (auto open = open_.begin(); open != open_.end();) {
    if (open->n_running > 0 || !open->blob.is_whole()) {
      ++open;
      continue;
    }
    const HubFile& file = open->remote.file();
    checker_.add(file, std::move(open->blob), std::move(open->lock));
    given_.push_back(file.oid);
    open = open_.erase(open);
  }
}

std::unique_ptr<Fetch> DownloadQueue::next_piece(OpenFile& open) {
  while (open.next_piece < open.blob.n_pieces()) {
    const size_t piece = open.next_piece++;
    if (!open.blob.has_all_of(piece)) return std::make_unique<PieceFetch>(open, piece);
  }
  return nullptr;
}

bool DownloadQueue::is_begun(const HubFile& file) const {
  return std::find(given_.begin(), given_.end(), file.oid) != given_.end() ||
         std::any_of(open_.begin(), open_.end(),
                     [&](const OpenFile& open) { return open.remote.file().oid == file.oid; });
}

}  // namespace hearth::hub
