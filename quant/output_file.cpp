#include "quant/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "quant/error.h"

namespace hearth {
namespace {

constexpr size_t kBuffer = 1 << 16;

// Whether this is the very file that standard output goes to: writing beside it and renaming would take it away from
// whoever opened it.
bool is_standard_output(const struct stat& info) {
  struct stat out;
  return fstat(STDOUT_FILENO, &out) == 0 && out.st_dev == info.st_dev && out.st_ino == info.st_ino;
}

}  // namespace

std::string link_target(const std::string& path) {
  namespace fs = std::filesystem;
  constexpr int kMostLinks = 40;  // as the system follows
  fs::path at = path;
  std::error_code error;
  for (int i = 0; fs::is_symlink(fs::symlink_status(at, error)); ++i) {
    require(i < kMostLinks, ErrorKind::file, "{}: links in a circle", path);
    const fs::path to = fs::read_symlink(at, error);
    if (error) break;
    at = at.parent_path() / to;  // `to` alone where it is absolute
  }
  return at;
}

OutputFile::OutputFile(const std::string& path) : path_(path == "-" ? "standard output" : path) {
  struct stat info {};
  const bool exists = path != "-" && stat(path.c_str(), &info) == 0;
  if (path == "-" || (exists && is_standard_output(info))) {
    through_ = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 0);
  } else if (exists && !S_ISREG(info.st_mode)) {
    require(!S_ISDIR(info.st_mode), ErrorKind::file, "{}: is a folder, expected a file", path);
    require(!S_ISBLK(info.st_mode), ErrorKind::file, "{}: is a disk, expected a file", path);
    through_ = open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY);
  } else {
    if (exists && access(path.c_str(), W_OK) != 0) fail_errno("cannot write", errno);
    target_ = link_target(path);
    begin_temporary();
    if (exists) fchmod(temporary_.fd(), info.st_mode & 0777);
    before_ = identity_of(target_);
    return;
  }
  if (through_ < 0) fail_errno("cannot write", errno);
}

OutputFile::~OutputFile() {
  if (through_ >= 0) close(through_);
}

void OutputFile::fail_errno(const char* what, int error) const {
  fail(error == EINTR ? ErrorKind::interrupted : ErrorKind::file, "{}: {}: {}", path_, what,
       std::generic_category().message(error));
}

void OutputFile::begin_temporary() {
  require(!target_.empty() && !target_.ends_with('/'), ErrorKind::file, "{}: is no name of a file", path_);
  temporary_ = PartialFile::begin(target_);
  if (!temporary_.is_open()) fail_errno("cannot create", errno);
}

OutputFile::Identity OutputFile::identity_of(const std::string& path) {
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) return {};
  return {info.st_dev, info.st_ino, int64_t(info.st_mtim.tv_sec) * 1000000000 + info.st_mtim.tv_nsec};
}

void OutputFile::write(std::span<const std::byte> bytes) {
  buffer_.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  if (buffer_.size() >= kBuffer) flush();
}

void OutputFile::flush() {
  const int fd = temporary_.is_open() ? temporary_.fd() : through_;
  if (!write_all(fd, std::as_bytes(std::span(buffer_)))) fail_errno("cannot write", errno);
  buffer_.clear();
}

bool OutputFile::finish() {
  flush();
  if (!temporary_.is_open()) {
    if (close(std::exchange(through_, -1)) != 0) fail_errno("cannot write", errno);
    return false;
  }
  if (!temporary_.sync() || !temporary_.close()) fail_errno("cannot write", errno);
  const bool replaced = identity_of(target_) != before_;
  if (!temporary_.rename()) fail_errno("cannot rename what was written", errno);
  return replaced;
}

}  // namespace hearth
