#include "runtime/hub/download.h"

#include <algorithm>
#include <chrono>
#include <list>
#include <memory>
#include <optional>
#include <span>
#include <thread>

#include "quant/error.h"
#include "runtime/hub/checker.h"
#include "runtime/hub/one_line.h"
#include "runtime/hub/url.h"

namespace hearth::hub {
namespace {

// A file that is being fetched.
struct OpenFile {
  const HubFile& file;
  const DownloadSource& source;
  DownloadProgress& progress;
  BlobLock lock;
  PartialBlob blob;
  std::string hub_url;
  std::string address;    // where the hub says it is; "": not asked yet
  std::string etag;       // of the answers of that address; "": none so far
  size_t next_piece = 0;  // all before are whole, or being fetched
  size_t n_running = 0;

  OpenFile(const HubFile& file, const DownloadSource& source, const RepositoryCache& cache, DownloadProgress& progress)
      : file(file),
        source(source),
        progress(progress),
        lock(cache.lock(file)),
        blob(cache.partial_blob(file), file.size) {
    hub_url = source.endpoint + "/" + source.repository + "/resolve/" + source.commit + "/" +
              percent_encoded(file.path, true);
    progress.resumed += blob.n_bytes();
  }

  void expect_same(const char* what, const std::string& listed, const std::string& found) const {
    require(listed == found, ErrorKind::format, "{}: the hub changed its mind: expected {} {}, found {}", file.path,
            what, listed, one_line(found, 100));
  }

  // What the hub says of the file where it hands it out, or says who does, must be what its list says.
  void compare(const HttpHead& head) const {
    if (const std::string commit = head.header("x-repo-commit"); !commit.empty())
      expect_same("commit", source.commit, commit);
    if (const std::string size = head.header("x-linked-size"); !size.empty())
      expect_same("bytes", std::to_string(file.size), size);
    std::string etag = bare_etag(head.header("x-linked-etag"));
    if (etag.empty()) etag = bare_etag(head.header("etag"));
    if (is_hex(etag, file.oid.size())) expect_same("checksum", file.oid, etag);  // some hubs have other tags
  }
};

class PieceFetch : public Fetch {
 public:
  PieceFetch(OpenFile& open, size_t piece) : open_(open), piece_(piece) { ++open_.n_running; }
  ~PieceFetch() override { --open_.n_running; }

  std::string name() const override { return open_.file.path; }
  std::string url() const override { return open_.address.empty() ? open_.hub_url : open_.address; }
  std::optional<ByteRange> range() const override {
    if (next() == 0 && open_.blob.end_of(piece_) == open_.file.size) return std::nullopt;
    return ByteRange{next(), open_.blob.end_of(piece_) - 1};
  }

  void passed(const std::string& url, const HttpHead& head) override {
    if (is_hub(url)) open_.compare(head);
  }

  void begin(const std::string& url, const HttpHead& head) override {
    if (is_hub(url)) open_.compare(head);
    skip_ = 0;
    if (head.status == 206)
      check_part(head);
    else
      check_whole(head);
    const std::string etag = bare_etag(head.header("etag"));
    if (open_.address == url && !open_.etag.empty() && !etag.empty())
      open_.expect_same("the entity tag", open_.etag, etag);
    open_.etag = etag;
    open_.address = url;
  }

  size_t take(std::string_view bytes) override {
    const size_t skipped = size_t(std::min<uint64_t>(skip_, bytes.size()));
    skip_ -= skipped;
    bytes.remove_prefix(skipped);
    const uint64_t missing = open_.blob.end_of(piece_) - next();
    require(bytes.size() <= missing, ErrorKind::format, "{}: expected {} bytes, and more came", name(),
            open_.file.size);
    open_.blob.append(piece_, std::as_bytes(std::span(bytes)));
    open_.progress.fetched += bytes.size();
    open_.progress.file = open_.file.path;
    return bytes.size();
  }

  bool is_whole(bool) const override { return open_.blob.has_all_of(piece_); }
  void address_failed() override { open_.address.clear(); }

 private:
  uint64_t next() const { return open_.blob.begin_of(piece_) + open_.blob.count_of(piece_); }
  bool is_hub(const std::string& url) const { return origin_of(url) == origin_of(open_.source.endpoint); }

  void check_part(const HttpHead& head) const {
    const auto asked = range();
    const auto found = parse_content_range(head.header("content-range"));
    const ContentRange expected{asked ? asked->first : 0, open_.blob.end_of(piece_) - 1, open_.file.size};
    require(asked && found == expected, ErrorKind::format,
            "{}: the hub changed its mind: expected bytes {} to {} of {}, found {}", name(), expected.first,
            expected.last, expected.size,
            found ? fmt::format("{} to {} of {}", found->first, found->last, found->size) : "no such part");
  }

  // Hubs that send no parts of small files send the whole again.
  void check_whole(const HttpHead& head) {
    require(open_.blob.n_pieces() == 1, ErrorKind::format,
            "{}: expected a part of the file (206), found all of it (200)", name());
    const auto length = parse_number(head.header("content-length"));
    require(!length || *length == open_.file.size, ErrorKind::format,
            "{}: the hub changed its mind: expected {} bytes, found {}", name(), open_.file.size, length.value_or(0));
    skip_ = next();
  }

  OpenFile& open_;
  size_t piece_;
  uint64_t skip_ = 0;  // bytes that are there, and come again
};

class Download {
 public:
  Download(const DownloadSource& source, const std::vector<HubFile>& files, const RepositoryCache& cache)
      : source_(source), cache_(cache), checker_(cache, source.commit) {
    // Small ones first: what is wrong with them is known soon.
    constexpr uint64_t kSmall = 16 << 20;
    for (const HubFile& file : files) files_.push_back(&file);
    std::stable_partition(files_.begin(), files_.end(), [](const HubFile* file) { return file->size <= kSmall; });
  }

  DownloadProgress& progress() { return progress_; }
  Checker& checker() { return checker_; }

  std::unique_ptr<Fetch> next() {
    hand_over();
    for (OpenFile& open : open_) {
      if (open.address.empty() && open.n_running > 0) continue;  // its first answer tells where it is
      if (auto piece = next_piece(open)) return piece;
    }
    while (next_file_ < files_.size()) {
      const HubFile& file = *files_[next_file_++];
      if (cache_.has(file) || is_begun(file)) continue;  // of the same content as another one
      open_.emplace_back(file, source_, cache_, progress_);
      if (auto piece = next_piece(open_.back())) return piece;
      hand_over();
    }
    return nullptr;
  }

  void hand_over() {
    for (auto open = open_.begin(); open != open_.end();) {
      if (open->n_running > 0 || !open->blob.is_whole()) {
        ++open;
        continue;
      }
      checker_.add(open->file, std::move(open->blob), std::move(open->lock));
      given_.push_back(open->file.oid);
      open = open_.erase(open);
    }
  }

 private:
  static std::unique_ptr<Fetch> next_piece(OpenFile& open) {
    while (open.next_piece < open.blob.n_pieces()) {
      const size_t piece = open.next_piece++;
      if (!open.blob.has_all_of(piece)) return std::make_unique<PieceFetch>(open, piece);
    }
    return nullptr;
  }

  bool is_begun(const HubFile& file) const {
    return std::find(given_.begin(), given_.end(), file.oid) != given_.end() ||
           std::any_of(open_.begin(), open_.end(), [&](const OpenFile& open) { return open.file.oid == file.oid; });
  }

  const DownloadSource& source_;
  const RepositoryCache& cache_;
  DownloadProgress progress_;
  std::vector<const HubFile*> files_;
  std::vector<std::string> given_;  // to be checked
  size_t next_file_ = 0;
  std::list<OpenFile> open_;
  Checker checker_;
};

}  // namespace

void download(const FetchSettings& settings, const DownloadSource& source, const std::vector<HubFile>& files,
              const RepositoryCache& cache, const std::function<void(const DownloadProgress&)>& progress,
              const Tell& tell) {
  cache.make_folders();
  Download download(source, files, cache);
  const auto tick = [&] {
    download.checker().rethrow();
    DownloadProgress now = download.progress();
    now.to_check = download.checker().bytes_waiting();
    progress(now);
  };
  FetchLoop loop(settings, tick, tell);
  loop.run([&] { return download.next(); });
  download.hand_over();
  download.progress().file.clear();
  while (!download.checker().idle()) {
    tick();
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  download.checker().rethrow();
}

}  // namespace hearth::hub
