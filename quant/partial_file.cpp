#include "quant/partial_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <system_error>
#include <utility>

#include "quant/error.h"

namespace hearth {

bool write_all(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    bytes = bytes.subspan(size_t(n));
  }
  return true;
}

// Files that this process writes at the same time have different numbers; one that a killed process of the same number
// left is passed over.
PartialFile PartialFile::begin(const std::string& path, mode_t mode) {
  static std::atomic<int> n_begun = 0;
  PartialFile file;
  file.path_ = path;
  do {
    file.name_ = fmt::format("{}.{}-{}.partial", path, getpid(), n_begun++);
    file.fd_ = open(file.name_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
  } while (file.fd_ < 0 && errno == EEXIST);
  file.owned_ = file.fd_ >= 0;
  return file;
}

// The lock keeps two writers of the same path apart; after locking, the name must still mean our file, or the other
// writer has just renamed or removed it.
PartialFile PartialFile::take_over(const std::string& path) {
  const auto reason = [] { return std::generic_category().message(errno); };
  PartialFile file;
  file.path_ = path;
  file.name_ = path + ".partial";
  const char* name = file.name_.c_str();
  file.fd_ = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
  require(file.fd_ >= 0, ErrorKind::file, "{}: cannot create: {}", name, reason());
  struct stat info, named;
  require(fstat(file.fd_, &info) == 0 && S_ISREG(info.st_mode), ErrorKind::file,
          "{}: exists and is not a regular file, so it cannot be written", name);
  file.owned_ = flock(file.fd_, LOCK_EX | LOCK_NB) == 0 && fstat(file.fd_, &info) == 0 && stat(name, &named) == 0 &&
                info.st_ino == named.st_ino && info.st_dev == named.st_dev;
  require(file.owned_, ErrorKind::file, "{}: another process is writing it", name);
  return file;
}

PartialFile::~PartialFile() {
  if (owned_ && !left_) unlink(name_.c_str());
  if (fd_ >= 0) ::close(fd_);
}

PartialFile::PartialFile(PartialFile&& other) noexcept
    : path_(std::move(other.path_)),
      name_(std::move(other.name_)),
      owned_(std::exchange(other.owned_, false)),
      left_(other.left_),
      fd_(std::exchange(other.fd_, -1)) {}

PartialFile& PartialFile::operator=(PartialFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(name_, other.name_);
  std::swap(owned_, other.owned_);
  std::swap(left_, other.left_);
  std::swap(fd_, other.fd_);
  return *this;
}

bool PartialFile::sync() const {
  return fsync(fd_) == 0;
}

bool PartialFile::close() {
  return ::close(std::exchange(fd_, -1)) == 0;
}

bool PartialFile::rename() {
  if (std::rename(name_.c_str(), path_.c_str()) != 0) return false;
  owned_ = false;
  return true;
}

}  // namespace hearth
