#include "runtime/hub/partial_blob.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <numeric>
#include <system_error>
#include <utility>

#include "quant/error.h"

namespace hearth::hub {
namespace {

static_assert(std::endian::native == std::endian::little, "the table is written as it lies in memory");

// What a hub keeps in git rather than beside it, at most 10 MB, is one piece: it may not answer ranges.
constexpr uint64_t kOnePiece = uint64_t(16) << 20;
constexpr uint64_t kSmallestPiece = uint64_t(8) << 20, kLargestPiece = uint64_t(64) << 20;
constexpr uint64_t kPieces = 64;  // of a file, where sizes allow

uint64_t choose_piece(uint64_t size) {
  if (size <= kOnePiece) return std::max<uint64_t>(size, 1);
  return std::clamp(size / kPieces, kSmallestPiece, kLargestPiece);
}

bool write_at(int fd, const void* bytes, size_t n, uint64_t at) {
  const char* next = static_cast<const char*>(bytes);
  while (n > 0) {
    const ssize_t written = pwrite(fd, next, n, off_t(at));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    next += written, n -= size_t(written), at += uint64_t(written);
  }
  return true;
}

bool read_at(int fd, void* bytes, size_t n, uint64_t at) {
  char* next = static_cast<char*>(bytes);
  while (n > 0) {
    const ssize_t got = pread(fd, next, n, off_t(at));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    next += got, n -= size_t(got), at += uint64_t(got);
  }
  return true;
}

}  // namespace

struct PartialBlob::Trailer {
  std::array<char, 8> magic = {'h', 'e', 'a', 'r', 't', 'h', '.', '1'};
  uint64_t size = 0, piece_bytes = 0, n_pieces = 0;
  bool operator==(const Trailer&) const = default;
};

PartialBlob::Trailer PartialBlob::trailer() const {
  static_assert(sizeof(Trailer) == 32);
  Trailer trailer;
  trailer.size = size_;
  trailer.piece_bytes = piece_bytes_;
  trailer.n_pieces = (size_ + piece_bytes_ - 1) / piece_bytes_;
  return trailer;
}

PartialBlob::PartialBlob(const std::string& path, uint64_t size)
    : path_(path), size_(size), piece_bytes_(choose_piece(size)) {
  fd_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
  if (fd_ < 0) fail_errno("cannot create");
  try {
    struct stat info {};
    require(fstat(fd_, &info) == 0 && S_ISREG(info.st_mode), ErrorKind::file, "{}: expected a regular file, found none",
            path_);
    if (!go_on()) begin();
  } catch (...) {
    close(fd_);
    throw;
  }
}

PartialBlob::~PartialBlob() {
  if (fd_ >= 0) close(fd_);
}

PartialBlob::PartialBlob(PartialBlob&& other) noexcept
    : path_(std::move(other.path_)),
      size_(other.size_),
      piece_bytes_(other.piece_bytes_),
      counts_(std::move(other.counts_)),
      fd_(std::exchange(other.fd_, -1)) {}

void PartialBlob::fail_errno(const char* what) const {
  fail(ErrorKind::file, "{}: {}: {}", path_, what, std::generic_category().message(errno));
}

// A file that was shortened and not renamed is whole.
bool PartialBlob::go_on() {
  struct stat info {};
  if (fstat(fd_, &info) != 0 || size_ == 0) return false;
  const uint64_t length = uint64_t(info.st_size);
  if (length == size_) {
    counts_.assign(size_t(trailer().n_pieces), 0);
    for (size_t i = 0; i < counts_.size(); ++i) counts_[i] = end_of(i) - begin_of(i);
    return true;
  }
  Trailer found;
  const Trailer expected = trailer();
  const uint64_t table = expected.n_pieces * sizeof(uint64_t);
  const bool good = length == size_ + table + sizeof found &&
                    read_at(fd_, &found, sizeof found, length - sizeof found) && found == expected;
  if (!good) return false;
  counts_.resize(size_t(expected.n_pieces));
  if (!read_at(fd_, counts_.data(), table, size_)) return false;
  for (size_t i = 0; i < counts_.size(); ++i)
    if (counts_[i] > end_of(i) - begin_of(i)) return false;
  return true;
}

// The trailer goes last: without it nothing counts.
void PartialBlob::begin() {
  const Trailer last = trailer();
  counts_.assign(size_t(last.n_pieces), 0);
  const uint64_t table = counts_.size() * sizeof(uint64_t), whole = size_ + table + sizeof last;
  if (ftruncate(fd_, 0) != 0) fail_errno("cannot empty");
  // Disks that cannot set room aside are found full later.
  if (fallocate(fd_, 0, 0, off_t(whole)) != 0 && errno != EOPNOTSUPP && errno != ENOSYS) {
    const int error = errno;
    unlink(path_.c_str());
    fail(ErrorKind::file, "{}: cannot set {} bytes aside: {}", path_, whole, std::generic_category().message(error));
  }
  const bool begun = ftruncate(fd_, off_t(whole)) == 0 && write_at(fd_, counts_.data(), table, size_) &&
                     write_at(fd_, &last, sizeof last, size_ + table);
  if (!begun) fail_errno("cannot write");
}

uint64_t PartialBlob::end_of(size_t piece) const {
  return std::min(begin_of(piece) + piece_bytes_, size_);
}

uint64_t PartialBlob::n_bytes() const {
  return std::accumulate(counts_.begin(), counts_.end(), uint64_t(0));
}

bool PartialBlob::is_whole() const {
  return n_bytes() == size_;
}

void PartialBlob::append(size_t piece, std::span<const std::byte> bytes) {
  const uint64_t at = begin_of(piece) + counts_[piece];
  if (!write_at(fd_, bytes.data(), bytes.size(), at)) fail_errno("cannot write");
  counts_[piece] += bytes.size();
  if (!write_at(fd_, &counts_[piece], sizeof(uint64_t), size_ + piece * sizeof(uint64_t))) fail_errno("cannot write");
}

void PartialBlob::shorten() {
  if (ftruncate(fd_, off_t(size_)) != 0) fail_errno("cannot shorten");
}

void PartialBlob::rename_to(const std::string& path) {
  if (fsync(fd_) != 0) fail_errno("cannot write");
  if (close(std::exchange(fd_, -1)) != 0) fail_errno("cannot write");
  if (std::rename(path_.c_str(), path.c_str()) != 0) fail_errno("cannot rename what was fetched");
}

void PartialBlob::remove() {
  unlink(path_.c_str());
}

}  // namespace hearth::hub
