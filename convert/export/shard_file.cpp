#include "convert/export/shard_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "quant/error.h"
#include "quant/mapped_file.h"

namespace hearth {
namespace {

std::string last_reason() {
  return std::generic_category().message(errno);
}

// Of a file system that cannot promise space, the size alone.
bool claim(int fd, uint64_t bytes) {
  if (ftruncate(fd, 0) != 0) return false;
  int result;
  do {
    result = fallocate(fd, 0, 0, off_t(bytes));
  } while (result != 0 && errno == EINTR);
  if (result != 0 && (errno == EOPNOTSUPP || errno == ENOSYS)) result = ftruncate(fd, off_t(bytes));
  return result == 0;
}

}  // namespace

ShardFile::ShardFile(const std::string& folder, const ExportShard& shard)
    : path_(folder + "/" + shard.name),
      partial_(PartialFile::take_over(path_)),
      left_(shard.file_bytes),
      behind_(partial_.fd()) {
  const bool claimed = claim(partial_.fd(), shard.file_bytes);
  require(claimed, ErrorKind::file, "{}: cannot claim {} bytes: {}", partial_.name(), shard.file_bytes, last_reason());
  write(0, std::as_bytes(std::span(shard.header)));
}

bool ShardFile::write(uint64_t offset, std::span<const std::byte> bytes) {
  const uint64_t begin = offset, count = bytes.size();
  while (!bytes.empty()) {
    const ssize_t n = pwrite(partial_.fd(), bytes.data(), bytes.size(), off_t(offset));
    if (n < 0 && errno == EINTR) continue;
    require(n >= 0, ErrorKind::file, "{}: cannot write: {}", partial_.name(), last_reason());
    bytes = bytes.subspan(size_t(n));
    offset += uint64_t(n);
  }
  {
    const std::lock_guard lock(behind_mutex_);
    behind_.add(begin, count);
  }
  return left_.fetch_sub(count) == count;
}

void ShardFile::finish() {
  const bool finished = partial_.sync() && partial_.rename();
  require(finished, ErrorKind::file, "{}: cannot finish: {}", partial_.name(), last_reason());
}

bool has_shard(const std::string& folder, const ExportShard& shard) {
  const std::string path = folder + "/" + shard.name;
  std::error_code error;
  if (std::filesystem::file_size(path, error) != shard.file_bytes || error) return false;
  const MappedFile file(path);
  return file.size() >= shard.header.size() &&
         std::memcmp(file.bytes().data(), shard.header.data(), shard.header.size()) == 0;
}

// Some file systems cannot sync a folder (EINVAL): that is as good as it gets there.
void sync_folder(const std::string& folder) {
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  require(fd >= 0, ErrorKind::file, "{}: cannot open the folder to sync it: {}", folder, last_reason());
  const int error = fsync(fd) == 0 ? 0 : errno;
  close(fd);
  require(error == 0 || error == EINVAL, ErrorKind::file, "{}: cannot sync the folder: {}", folder,
          std::generic_category().message(error));
}

}  // namespace hearth
