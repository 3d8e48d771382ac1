// A file mapped read-only for as long as the object lives.
#pragma once

#include <cstddef>
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

  // Hints for a range inside the file, rounded outwards to pages. They never fail.
  void will_need(std::span<const std::byte> range) const;  // read ahead
  void dont_need(std::span<const std::byte> range) const;  // drop from this process's resident set
  void sequential(std::span<const std::byte> range) const;
  // Maps every page now (MADV_POPULATE_READ); false where the kernel cannot.
  bool populate(std::span<const std::byte> range) const;
  // The part of the file that is in memory already, 0 to 1; 0 where the system does not say.
  double cached_share() const;

 private:
  std::string path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace hearth
