#include "runtime/hub/heads.h"

#include <algorithm>
#include <cstring>
#include <list>
#include <memory>

#include "quant/error.h"

namespace hearth::hub {
namespace {

constexpr uint64_t kLength = 8;         // bytes that give the header's
constexpr uint64_t kFirst = 128 << 10;  // asked for at first: most headers of published shards are shorter
constexpr uint64_t kAtOnce = 16 << 20;  // hubs may send files up to this size whole

// A file of which the first bytes are wanted.
struct Head {
  RemoteFile remote;
  std::string bytes;
  uint64_t wanted;

  Head(const HubFile& file, const DownloadSource& source) : remote(file, source), wanted(std::min(file.size, kFirst)) {}
};

class HeadFetch : public Fetch {
 public:
  explicit HeadFetch(Head& head) : head_(head) {}

  std::string name() const override { return head_.remote.file().path; }
  std::string url() const override { return head_.remote.url(); }
  std::optional<ByteRange> range() const override { return ByteRange{head_.bytes.size(), head_.wanted - 1}; }
  void passed(const std::string& url, const HttpHead& answer) override { head_.remote.passed(url, answer); }
  void begin(const std::string& url, const HttpHead& answer) override {
    skip_ = 0;
    head_.remote.passed(url, answer);
    if (answer.status == 206) {
      head_.remote.check_part(answer, range());
    } else {
      require(head_.remote.file().size <= kAtOnce, ErrorKind::format,
              "{}: expected a part of the file (206), found all of it (200)", name());
      head_.remote.check_whole(answer);
      skip_ = head_.bytes.size();
    }
    head_.remote.begins(url, answer);
  }
  // What comes behind what is wanted, where all comes, is let go.
  size_t take(std::string_view bytes) override {
    const size_t skipped = size_t(std::min<uint64_t>(skip_, bytes.size()));
    skip_ -= skipped;
    bytes.remove_prefix(skipped);
    bytes = bytes.substr(0, size_t(head_.wanted) - head_.bytes.size());
    head_.bytes += bytes;
    return bytes.size();
  }
  bool is_whole(bool) const override { return head_.bytes.size() == head_.wanted; }
  void address_failed() override { head_.remote.address_failed(); }

 private:
  Head& head_;
  uint64_t skip_ = 0;  // bytes that are there, and come again
};

// The bytes of the header and its length.
uint64_t length_of(const Head& head) {
  const HubFile& file = head.remote.file();
  uint64_t length = 0;
  std::memcpy(&length, head.bytes.data(), kLength);
  require(length <= kMostHeadBytes && length <= file.size - kLength, ErrorKind::format,
          "{}: not a safetensors file: expected a header of at most {} bytes, found {}", file.path,
          std::min(kMostHeadBytes, file.size - kLength), length);
  return kLength + length;
}

}  // namespace

std::vector<std::string> fetch_heads(FetchLoop& loop, const DownloadSource& source, const std::vector<HubFile>& files,
                                     uint64_t most_bytes) {
  std::list<Head> heads;
  for (const HubFile& file : files) {
    require(file.size >= kLength, ErrorKind::format, "{}: not a safetensors file: expected at least {} bytes, found {}",
            file.path, kLength, file.size);
    heads.emplace_back(file, source);
  }
  const auto fetch_missing = [&] {
    auto at = heads.begin();
    loop.run([&]() -> std::unique_ptr<Fetch> {
      while (at != heads.end() && at->bytes.size() == at->wanted) ++at;
      return at == heads.end() ? nullptr : std::make_unique<HeadFetch>(*at++);
    });
  };
  fetch_missing();
  uint64_t all = 0;
  for (Head& head : heads) {
    head.wanted = length_of(head);
    all += head.wanted;
    if (head.bytes.size() > head.wanted) head.bytes.resize(size_t(head.wanted));
  }
  require(all <= most_bytes, ErrorKind::format, "{}: expected headers of at most {} bytes, found {}", source.repository,
          most_bytes, all);
  fetch_missing();
  std::vector<std::string> texts;
  for (Head& head : heads) texts.push_back(std::move(head.bytes));
  return texts;
}

}  // namespace hearth::hub
