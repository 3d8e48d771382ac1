// Reads a file from its disk, not from what the system keeps of it in memory: what is read was kept. Where a file
// system knows no such reading (O_DIRECT), it is asked to forget what it has, and mostly does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>

namespace hearth {

class DiskReader {
 public:
  // Throws Error(file) naming the path and the reason.
  explicit DiskReader(const std::string& path);
  ~DiskReader();
  DiskReader(const DiskReader&) = delete;
  DiskReader& operator=(const DiskReader&) = delete;

  // Calls `piece` with consecutive pieces of [offset, offset + bytes), at most 4 MiB each, until all are read or
  // `piece` returns false. From several threads. What was written must have been synced. Throws Error(file): the file
  // is shorter, the disk cannot read it.
  void read(uint64_t offset, uint64_t bytes, const std::function<bool(std::span<const std::byte>)>& piece) const;

 private:
  bool give_up_direct() const;

  std::string path_;
  int fd_ = -1;
};

}  // namespace hearth
