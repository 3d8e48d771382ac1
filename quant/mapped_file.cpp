#include "quant/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>
#include <vector>

#include "quant/checksum.h"
#include "quant/error.h"

namespace hearth {

namespace {

#ifdef MADV_POPULATE_READ
constexpr int kPopulateRead = MADV_POPULATE_READ;
#else
constexpr int kPopulateRead = 22;  // Linux 5.14; older kernels answer EINVAL
#endif

[[noreturn]] void fail_errno(const std::string& path, const char* what) {
  fail(ErrorKind::file, "{}: {}: {}", path, what, std::generic_category().message(errno));
}

// madvise over the pages that hold `range`.
int advise(std::span<const std::byte> range, int advice) {
  if (range.empty()) return 0;
  const auto page = uintptr_t(sysconf(_SC_PAGESIZE));
  const uintptr_t begin = reinterpret_cast<uintptr_t>(range.data()) & ~(page - 1);
  const uintptr_t end = reinterpret_cast<uintptr_t>(range.data()) + range.size();
  return madvise(reinterpret_cast<void*>(begin), end - begin, advice);
}

int64_t modified_at(const struct stat& info) {
  return int64_t(info.st_mtim.tv_sec) * 1000000000 + info.st_mtim.tv_nsec;
}

// A file of hundreds of gigabytes is not read twice. These pieces change when another file is written over it, or
// anything into its header. Of `n_files` that make a model together, each is read as much less.
uint64_t sampled_checksum(std::span<const std::byte> bytes, size_t n_files) {
  constexpr size_t kWhole = size_t(64) << 20, kEnds = size_t(1) << 20, kPiece = 4096, kPieces = 256;
  if (bytes.size() <= std::max(kWhole / n_files, kPiece)) return checksum(bytes);
  const size_t ends = std::min(std::max(kEnds / n_files, kPiece), bytes.size());
  const size_t pieces = std::min(std::max<size_t>(kPieces / n_files, 4), bytes.size() / kPiece);
  Checksum sum;
  sum.add(bytes.first(ends));
  for (size_t i = 1; i < pieces; ++i) sum.add(bytes.subspan(bytes.size() / pieces * i, kPiece));
  sum.add(bytes.last(ends));
  return sum.value();
}

// What mapped_file_at looks at: no memory that moves, no locks. `end` is set last and cleared first. Mappings beyond
// the room here work, but have no name.
struct Mapping {
  std::atomic<uintptr_t> begin = 0, end = 0;
  std::atomic<bool> taken = false;
  char path[1024];
};
std::array<Mapping, 2048> mappings;

void remember(const std::string& path, const std::byte* data, size_t size) {
  for (Mapping& m : mappings) {
    if (m.taken || m.taken.exchange(true)) continue;
    const size_t n = std::min(path.size(), sizeof m.path - 1);
    std::memcpy(m.path, path.data(), n);
    m.path[n] = 0;
    m.begin = reinterpret_cast<uintptr_t>(data);
    m.end = m.begin + size;
    return;
  }
}

void forget(const std::byte* data) {
  for (Mapping& m : mappings) {
    if (m.end == 0 || m.begin != reinterpret_cast<uintptr_t>(data)) continue;
    m.end = 0;
    m.taken = false;
    return;
  }
}

}  // namespace

const char* mapped_file_at(const void* address) {
  const auto at = reinterpret_cast<uintptr_t>(address);
  for (const Mapping& m : mappings)
    if (at < m.end && at >= m.begin) return m.path;
  return nullptr;
}

MappedFile::MappedFile(const std::string& path) : path_(path) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);  // or a FIFO would wait for its writer
  if (fd < 0) fail_errno(path, "cannot open");
  struct Closer {
    int fd;
    ~Closer() {
      if (fd >= 0) close(fd);
    }
  } closer{fd};

  struct stat info;
  if (fstat(fd, &info) != 0) fail_errno(path, "cannot read its size");
  require(!S_ISDIR(info.st_mode), ErrorKind::file, "{}: is a directory, expected a file", path);
  require(S_ISREG(info.st_mode), ErrorKind::file, "{}: is not a regular file, so it cannot be mapped", path);
  require(info.st_size > 0, ErrorKind::file, "{}: is empty", path);

  void* mapping = mmap(nullptr, size_t(info.st_size), PROT_READ, MAP_SHARED, fd, 0);
  if (mapping == MAP_FAILED) fail_errno(path, "cannot map");
  data_ = static_cast<const std::byte*>(mapping);
  size_ = size_t(info.st_size);
  fd_ = std::exchange(closer.fd, -1);
  modified_ = modified_at(info);
  remember(path_, data_, size_);
}

MappedFile MappedFile::awaited(const std::string& path, size_t size, std::span<const std::byte> head) {
  MappedFile file;
  file.path_ = path;
  require(size > 0 && head.size() <= size, ErrorKind::file, "{}: expected at least {} bytes, found {}", path,
          std::max<size_t>(head.size(), 1), size);
  void* const room = mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  require(room != MAP_FAILED, ErrorKind::resource, "{}: no addresses for {} bytes: {}", path, size,
          std::generic_category().message(errno));
  file.data_ = static_cast<const std::byte*>(room);
  file.size_ = size;
  file.head_ = head.size();
  remember(path, file.data_, size);
  if (head.empty()) return file;
  const size_t page = size_t(sysconf(_SC_PAGESIZE)), known = std::min(size, (head.size() + page - 1) / page * page);
  const bool writable = mprotect(room, known, PROT_READ | PROT_WRITE) == 0;
  if (writable) std::memcpy(room, head.data(), head.size());
  require(writable && mprotect(room, known, PROT_READ) == 0, ErrorKind::resource, "{}: no memory for {} bytes: {}",
          path, known, std::generic_category().message(errno));
  return file;
}

void MappedFile::arrive(const std::string& path) {
  const MappedFile whole(path);
  require(whole.size_ == size_, ErrorKind::format, "{}: expected {} bytes, found {}", path_, size_, whole.size_);
  require(std::memcmp(whole.data_, data_, head_) == 0, ErrorKind::format,
          "{}: its first {} bytes are not those that came before", path_, head_);
  const int fd = fcntl(whole.fd_, F_DUPFD_CLOEXEC, 0);
  if (fd < 0) fail_errno(path_, "cannot open");
  if (mmap(const_cast<std::byte*>(data_), size_, PROT_READ, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED) {
    const int error = errno;
    close(fd);
    errno = error;
    fail_errno(path_, "cannot map");
  }
  fd_ = fd;
  modified_ = whole.modified_;
}

void MappedFile::leave() {
  void* const room = mmap(const_cast<std::byte*>(data_), size_, PROT_NONE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  if (room == MAP_FAILED) fail_errno(path_, "cannot unmap");
  if (fd_ >= 0) close(std::exchange(fd_, -1));
}

MappedFile::~MappedFile() {
  if (!data_) return;
  forget(data_);
  munmap(const_cast<std::byte*>(data_), size_);
  if (fd_ >= 0) close(fd_);
}

std::string MappedFile::identity() const {
  return fmt::format("{} {} {}", path_.substr(path_.rfind('/') + 1), size_, modified_);
}

bool MappedFile::changed() const {
  struct stat info;
  if (fstat(fd_, &info) != 0 || size_t(info.st_size) != size_) return true;
  const int64_t modified = modified_at(info);
  if (modified == modified_) return false;
  if (!content_ || content_->sum != sampled_checksum(bytes(), content_->n_files)) return true;
  modified_ = modified;
  return false;
}

void MappedFile::remember_content(size_t n_files) {
  content_.reset();
  if (changed()) return;
  const uint64_t sum = sampled_checksum(bytes(), n_files);
  if (!changed()) content_ = {n_files, sum};
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      head_(other.head_),
      fd_(std::exchange(other.fd_, -1)),
      modified_(other.modified_),
      content_(other.content_) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(head_, other.head_);
  std::swap(fd_, other.fd_);
  std::swap(modified_, other.modified_);
  std::swap(content_, other.content_);
  return *this;
}

// For one call the kernel reads no more than its read-ahead, 128 KiB where nobody has changed it, and forgets the rest.
void MappedFile::will_need(std::span<const std::byte> range) const {
  constexpr size_t kAtOnce = 128 << 10;
  for (; !range.empty(); range = range.subspan(std::min(kAtOnce, range.size()))) {
    advise(range.first(std::min(kAtOnce, range.size())), MADV_WILLNEED);
  }
}
void MappedFile::dont_need(std::span<const std::byte> range) const {
  advise(range, MADV_DONTNEED);
}

// Mapping it anew in the same place. Nobody sees it: whoever reads these pages at the same time finds them again.
void MappedFile::release(std::span<const std::byte> range) const {
  constexpr uintptr_t kTable = 2 << 20;  // what one page of the kernel's tables covers
  const auto base = reinterpret_cast<uintptr_t>(data_), from = reinterpret_cast<uintptr_t>(range.data());
  const uintptr_t begin = std::max(base, from / kTable * kTable);
  const uintptr_t end = std::min(base + size_, (from + range.size() + kTable - 1) / kTable * kTable);
  if (range.empty() || begin >= end) return;
  void* const again =
      mmap(reinterpret_cast<void*>(begin), end - begin, PROT_READ, MAP_SHARED | MAP_FIXED, fd_, off_t(begin - base));
  if (again == MAP_FAILED) fail_errno(path_, "cannot map again");
}

void MappedFile::sequential(std::span<const std::byte> range) const {
  advise(range, MADV_SEQUENTIAL);
}
bool MappedFile::populate(std::span<const std::byte> range) const {
  return advise(range, kPopulateRead) == 0;
}

double MappedFile::cached_share() const {
  const size_t page = size_t(sysconf(_SC_PAGESIZE)), n_pages = (size_ + page - 1) / page;
  constexpr size_t kAtOnce = 1 << 18;  // pages
  std::vector<unsigned char> resident(std::min(n_pages, kAtOnce));
  size_t cached = 0;
  for (size_t first = 0; first < n_pages; first += kAtOnce) {
    const size_t n = std::min(kAtOnce, n_pages - first);
    void* begin = const_cast<std::byte*>(data_ + first * page);
    if (mincore(begin, std::min(n * page, size_ - first * page), resident.data()) != 0) return 0;
    cached += size_t(std::count_if(resident.begin(), resident.begin() + ptrdiff_t(n), [](auto r) { return r & 1; }));
  }
  return double(cached) / double(n_pages);
}

}  // namespace hearth
