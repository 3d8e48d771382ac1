#include "runtime/hub/cache.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <span>
#include <system_error>
#include <utility>

#include "quant/error.h"
#include "quant/partial_file.h"
#include "runtime/support/text_file.h"

namespace hearth::hub {
namespace {

namespace fs = std::filesystem;

std::string reason() {
  return std::generic_category().message(errno);
}

std::string setting(const char* name) {
  const char* const value = std::getenv(name);
  return value ? value : "";
}

void make_folder(const fs::path& path) {
  std::error_code error;
  fs::create_directories(path, error);
  require(!error, ErrorKind::file, "{}: cannot create: {}", path.string(), error.message());
}

// Of all that belongs to the hub.
std::string hub_home() {
  if (const std::string home = setting("HF_HOME"); !home.empty()) return home;
  std::string cache = setting("XDG_CACHE_HOME");
  if (cache.empty()) {
    const std::string home = setting("HOME");
    require(!home.empty(), ErrorKind::usage, "no folder to fetch into: set HF_HUB_CACHE, HF_HOME or HOME");
    cache = home + "/.cache";
  }
  return cache + "/huggingface";
}

std::string folder_name(std::string repository) {
  const size_t slash = repository.find('/');
  if (slash != std::string::npos) repository.replace(slash, 1, "--");
  return "models--" + repository;
}

}  // namespace

std::string cache_folder() {
  const std::string named = setting("HF_HUB_CACHE");
  return named.empty() ? hub_home() + "/hub" : named;
}

std::string hub_token() {
  constexpr size_t kMostBytes = 4096;
  std::string token = setting("HF_TOKEN"), from = "HF_TOKEN";
  if (token.empty()) {
    const std::string named = setting("HF_TOKEN_PATH");
    if (named.empty() && setting("HF_HOME").empty() && setting("XDG_CACHE_HOME").empty() && setting("HOME").empty())
      return "";
    from = named.empty() ? hub_home() + "/token" : named;
    std::error_code error;
    if (!fs::exists(from, error)) return "";
    token = read_text_file(from, kMostBytes);
  }
  const size_t first = token.find_first_not_of(" \t\r\n");
  if (first == std::string::npos) return "";
  token = token.substr(first, token.find_last_not_of(" \t\r\n") + 1 - first);
  const bool plain = std::all_of(token.begin(), token.end(), [](unsigned char c) { return c > 0x20 && c < 0x7f; });
  require(plain && token.size() <= kMostBytes, ErrorKind::usage,
          "{}: expected a token, letters and digits on one line, found something else", from);
  return token;
}

// A lock counts only while its name means the file that is locked: others may remove it when they let go.
BlobLock::BlobLock(const std::string& path, const std::string& of_what) {
  for (;;) {
    fd_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    require(fd_ >= 0, ErrorKind::file, "{}: cannot create: {}", path, reason());
    const bool held = flock(fd_, LOCK_EX | LOCK_NB) == 0;
    const int error = errno;
    struct stat info {
    }, named{};
    if (held && fstat(fd_, &info) == 0 && stat(path.c_str(), &named) == 0 && info.st_ino == named.st_ino) return;
    close(std::exchange(fd_, -1));
    require(held, ErrorKind::file, "{}: {}", of_what,
            error == EWOULDBLOCK ? "another process is fetching it" : "cannot lock " + path);
  }
}

BlobLock::~BlobLock() {
  if (fd_ >= 0) close(fd_);
}

BlobLock::BlobLock(BlobLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

RepositoryCache::RepositoryCache(const std::string& folder, const std::string& repository)
    : folder_(folder),
      repository_(folder + "/" + folder_name(repository)),
      locks_(folder + "/.locks/" + folder_name(repository)) {}

std::string RepositoryCache::blob(const HubFile& file) const {
  return repository_ + "/blobs/" + file.oid;
}

// Not CHECKSUM.incomplete: huggingface_hub takes the length of a file of that name for what has come of it.
std::string RepositoryCache::partial_blob(const HubFile& file) const {
  return blob(file) + ".hearth.incomplete";
}

std::string RepositoryCache::snapshot(const std::string& commit) const {
  return repository_ + "/snapshots/" + commit;
}

bool RepositoryCache::has(const HubFile& file) const {
  struct stat info {};
  return stat(blob(file).c_str(), &info) == 0 && S_ISREG(info.st_mode) && uint64_t(info.st_size) == file.size;
}

uint64_t RepositoryCache::set_aside(const HubFile& file) const {
  constexpr uint64_t kBlock = 512;  // the unit of st_blocks
  struct stat info {};
  return lstat(partial_blob(file).c_str(), &info) == 0 ? uint64_t(info.st_blocks) * kBlock : 0;
}

BlobLock RepositoryCache::lock(const HubFile& file) const {
  return BlobLock(locks_ + "/" + file.oid + ".lock", file.path);
}

void RepositoryCache::make_folders() const {
  make_folder(locks_);
  make_folder(repository_ + "/blobs");
}

void RepositoryCache::link(const std::string& commit, const HubFile& file) const {
  const fs::path name = fs::path(snapshot(commit)) / file.path;
  make_folder(name.parent_path());
  std::string target = "../../blobs/" + file.oid;
  for (const char c : file.path)
    if (c == '/') target = "../" + target;
  std::error_code error;
  if (fs::read_symlink(name, error) == target) return;
  // Under another name first: whoever looks finds the old one or the new one.
  const std::string temporary = fmt::format("{}.{}.partial", name.string(), getpid());
  unlink(temporary.c_str());
  const bool linked = symlink(target.c_str(), temporary.c_str()) == 0 &&
                      (rename(temporary.c_str(), name.c_str()) == 0 || (unlink(temporary.c_str()), false));
  require(linked, ErrorKind::file, "{}: cannot link: {}", name.string(), reason());
}

void RepositoryCache::write_ref(const std::string& revision, const std::string& commit) const {
  if (revision == commit) return;  // names itself
  const fs::path path = fs::path(repository_) / "refs" / revision;
  make_folder(path.parent_path());
  PartialFile file = PartialFile::begin(path.string());
  const bool written = file.is_open() && file.write(std::as_bytes(std::span(commit))) && file.close() && file.rename();
  require(written, ErrorKind::file, "{}: cannot write: {}", path.string(), reason());
}

uint64_t free_bytes(const std::string& folder) {
  fs::path at = fs::absolute(folder);
  std::error_code error;
  while (!fs::exists(at, error) && at.has_relative_path()) at = at.parent_path();
  struct statvfs info {};
  require(statvfs(at.c_str(), &info) == 0, ErrorKind::file, "{}: cannot ask for its free space: {}", at.string(),
          reason());
  return uint64_t(info.f_bavail) * info.f_frsize;
}

}  // namespace hearth::hub
