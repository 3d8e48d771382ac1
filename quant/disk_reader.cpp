#include "quant/disk_reader.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <new>
#include <system_error>

#include "quant/error.h"
#include "quant/round_up.h"

namespace hearth {
namespace {

constexpr uint64_t kSector = 4096;            // of the largest disks: places, sizes and memory of what is read directly
constexpr uint64_t kPieceBytes = 4ull << 20;  // enough for a disk to read from all its chips at once

}  // namespace

DiskReader::DiskReader(const std::string& path) : path_(path) {
  fd_ = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT);
  if (fd_ < 0 && errno == EINVAL) fd_ = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  require(fd_ >= 0, ErrorKind::file, "{}: cannot open: {}", path, std::generic_category().message(errno));
}

DiskReader::~DiskReader() {
  close(fd_);
}

// Some file systems open a file for direct reading, and then refuse to read. False: it was not direct.
bool DiskReader::give_up_direct() const {
  const int flags = fcntl(fd_, F_GETFL);
  return (flags & O_DIRECT) && fcntl(fd_, F_SETFL, flags & ~O_DIRECT) == 0;
}

void DiskReader::read(uint64_t offset, uint64_t bytes,
                      const std::function<bool(std::span<const std::byte>)>& piece) const {
  posix_fadvise(fd_, off_t(offset), off_t(bytes), POSIX_FADV_DONTNEED);
  const std::unique_ptr<void, decltype(&std::free)> memory(std::aligned_alloc(kSector, kPieceBytes), &std::free);
  if (!memory) throw std::bad_alloc();
  auto* const buffer = static_cast<std::byte*>(memory.get());
  const uint64_t end = offset + bytes;
  for (uint64_t at = offset; at < end;) {
    const uint64_t begin = at / kSector * kSector, wanted = std::min(kPieceBytes, round_up(end - begin, kSector));
    const ssize_t n = pread(fd_, buffer, wanted, off_t(begin));
    if (n < 0 && (errno == EINTR || (errno == EINVAL && give_up_direct()))) continue;
    require(n >= 0, ErrorKind::file, "{}: cannot read {} bytes at {}: {}", path_, wanted, begin,
            std::generic_category().message(errno));
    const uint64_t got = std::min(begin + uint64_t(n), end);
    require(got > at, ErrorKind::file, "{}: expected {} bytes, found its end at {}", path_, end, got);
    if (!piece({buffer + (at - begin), size_t(got - at)})) return;
    at = got;
  }
}

}  // namespace hearth
