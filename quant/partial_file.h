// A file under a temporary name beside the one that it will have, and renamed when it is whole: until then the name
// holds what it held before. Of one that is destroyed before, nothing is left, unless it was told to leave it; only a
// killed process leaves it behind.
//
//   PartialFile file = PartialFile::begin(path);
//   const bool written = file.is_open() && file.write(bytes) && file.sync() && file.close() && file.rename();
//
// Without `sync` nothing waits for the disk; then a power cut soon after may leave an empty file of the final name.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <span>
#include <string>

namespace hearth {

bool write_all(int fd, std::span<const std::byte> bytes);  // false: errno says why

class PartialFile {
 public:
  // "PATH.PROCESS-NUMBER.partial", which no other writer has. Not open: errno says why.
  static PartialFile begin(const std::string& path, mode_t mode = 0666);
  // "PATH.partial": one writer at a time, and what an earlier one left is taken over with all it holds. Throws
  // Error(file): cannot be created, is not a regular file, another process is writing it.
  static PartialFile take_over(const std::string& path);

  PartialFile() = default;
  ~PartialFile();
  PartialFile(PartialFile&& other) noexcept;
  PartialFile& operator=(PartialFile&& other) noexcept;

  bool is_open() const { return fd_ >= 0; }
  int fd() const { return fd_; }
  const std::string& name() const { return name_; }  // the temporary one

  // False: errno says why.
  bool write(std::span<const std::byte> bytes) const { return write_all(fd_, bytes); }
  bool sync() const;
  bool close();   // some file systems tell here that the disk is full; a file taken over is no longer locked then
  bool rename();  // to PATH
  void leave(bool leave) { left_ = leave; }  // whether the temporary name outlives this object

 private:
  std::string path_, name_;
  bool owned_ = false;  // there is a file of the temporary name, and it is ours
  bool left_ = false;   // and stays
  int fd_ = -1;
};

}  // namespace hearth
