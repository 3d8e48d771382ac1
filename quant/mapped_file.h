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
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  const std::string& path() const { return path_; }
  std::span<const std::byte> bytes() const { return {data_, size_}; }
  size_t size() const { return size_; }

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
  std::string path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
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
