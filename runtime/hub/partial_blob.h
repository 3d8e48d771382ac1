// A file that is being fetched in pieces, in any order, and that a killed process leaves so that the next one goes on.
//
//   size bytes      the content, as far as it has come
//   table           how many bytes of each piece have come, from its beginning: 8 bytes each
//   trailer         32 bytes: "hearth.1", size, bytes of a piece, number of pieces
//
// Bytes are written before they are counted, so what is counted is there; after a power cut the checksum tells. All
// numbers are little-endian, of 64 bits. A finished file is shortened to its content, checked, and renamed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace hearth::hub {

class PartialBlob {
 public:
  // Goes on with what lies at `path`, if that is such a file of `size` bytes, else begins it. The whole size is set
  // aside on the disk. Throws Error(file): it cannot be created, the disk is full. Who calls holds the blob's lock.
  PartialBlob(const std::string& path, uint64_t size);
  ~PartialBlob();
  PartialBlob(PartialBlob&& other) noexcept;
  PartialBlob& operator=(PartialBlob&&) = delete;

  uint64_t size() const { return size_; }
  const std::string& path() const { return path_; }
  int fd() const { return fd_; }

  size_t n_pieces() const { return counts_.size(); }
  uint64_t begin_of(size_t piece) const { return piece * piece_bytes_; }
  uint64_t end_of(size_t piece) const;  // behind its last byte
  uint64_t count_of(size_t piece) const { return counts_[piece]; }
  bool has_all_of(size_t piece) const { return begin_of(piece) + counts_[piece] == end_of(piece); }
  bool is_whole() const;
  uint64_t n_bytes() const;  // that have come

  // The next bytes of a piece, at most as many as it lacks. Throws Error(file): the disk is full.
  void append(size_t piece, std::span<const std::byte> bytes);
  // Shortens the file to its content; it is whole.
  void shorten();
  // All is on disk, and has the name `path`, when this returns. Throws Error(file).
  void rename_to(const std::string& path);
  void remove();  // what was fetched is worth nothing

 private:
  struct Trailer;
  Trailer trailer() const;
  bool go_on();
  void begin();
  [[noreturn]] void fail_errno(const char* what) const;

  std::string path_;
  uint64_t size_ = 0, piece_bytes_ = 0;
  std::vector<uint64_t> counts_;
  int fd_ = -1;
};

}  // namespace hearth::hub
