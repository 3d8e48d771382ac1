// A file mapped read-only for as long as the object lives.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

namespace hearth {

class MappedFile {
 public:
  // Throws Error(file) naming the path and the reason: missing, a directory, empty, no permission.
  explicit MappedFile(const std::string& path);
  // A file that is still to come: its size and its first bytes are known, and what lies behind them has addresses and
  // nothing in them. Whoever reads there too early ends the program. `path` is for messages. Throws Error(resource): no
  // addresses are left.
  static MappedFile awaited(const std::string& path, size_t size, std::span<const std::byte> head);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  size_t size() const { return size_; }

  bool is_there() const { return fd_ >= 0; }  // false: awaited, or gone again
  // An awaited file lies at `path` now: the same addresses have its bytes. Throws Error(file): it cannot be mapped;
  // Error(format): it has another size than was said, or begins otherwise.
  void arrive(const std::string& path);
  // It is not needed any more: the addresses are empty again, and nothing of it stays open. Throws Error(file).
  void leave();

  // Name (without folders), size and time of the last change: another content has another one.
  std::string identity() const;

  // Whether somebody has written to the file since it was mapped, or shortened it: then what is mapped is not what was
  // checked. A file that was replaced by another of the same name is still mapped as it was. If remember_content was
  // called, its checksum decides, so that a file that was only touched, or rewritten with the same bytes, has not
  // changed; else the time of the last change decides.
  bool changed() const;
  // Keeps a checksum of what the file holds: of all of it up to 64 MiB, of larger ones its ends and 255 pieces between.
  // Of one of n_files that are remembered together, an n-th of that.
  void remember_content(size_t n_files = 1);

  // Hints for a range inside the file, rounded outwards to pages. They never fail.
  void will_need(std::span<const std::byte> range) const;  // read ahead
  void dont_need(std::span<const std::byte> range) const;  // drop from this process's resident set
  // As dont_need, and gives back what the kernel needs to remember where the pages are (2 MiB for each GiB that was
  // touched, which older kernels keep otherwise until the whole file is unmapped). Takes neighbours within 2 MiB along.
  // Throws Error(file): out of memory.
  void release(std::span<const std::byte> range) const;
  void sequential(std::span<const std::byte> range) const;
  // Maps every page now (MADV_POPULATE_READ); false where the kernel cannot.
  bool populate(std::span<const std::byte> range) const;
  // The part of the file that is in memory already, 0 to 1; 0 where the system does not say.
  double cached_share() const;

 private:
  MappedFile() = default;

  std::string path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  size_t head_ = 0;  // of an awaited file: its first bytes that are known
  int fd_ = -1;
  mutable int64_t modified_ = 0;  // nanoseconds
  struct Content {
    size_t n_files;
    uint64_t sum;
  };
  std::optional<Content> content_;  // what remember_content saw
};

// The path of the mapped file that an address lies in; null: none. May be called from a signal handler: reading beyond
// the end of a file that was shortened is a SIGBUS.
const char* mapped_file_at(const void* address);

}  // namespace hearth
