// Where results go: the one rule for every file that a command writes.
//
//   "-"                        standard output
//   a link                     stays a link: what it names is written, there already or not
//   a device, a FIFO           is written into, as is what standard output goes to under another name (/dev/stdout)
//   a folder, a block device   is refused, as is a file that may not be written
//   any other name             is written under a temporary name beside it (PartialFile::begin), with the mode that it
//                              had: it holds the whole result or what it held before
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "quant/partial_file.h"

namespace hearth {

// The file that `path` names: links are followed to their end, whether there is a file or not. Throws Error(file):
// links in a circle.
std::string link_target(const std::string& path);

class OutputFile {
 public:
  // Begins: whatever can be known beforehand is refused now, before the work that makes the result. Waits for whoever
  // reads a FIFO. Throws Error(file) naming path and reason.
  explicit OutputFile(const std::string& path);
  ~OutputFile();  // an unfinished file leaves nothing, except what was already written through
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  void write(std::span<const std::byte> bytes);  // throws Error(file): disk full, nobody reads
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  // All is on disk and has its name when this returns. True: another program had written a file of this name since the
  // constructor, which is replaced; it is fair to say so. Throws Error(file).
  bool finish();

 private:
  // Which file a name means, and its last change.
  struct Identity {
    uint64_t device = 0, inode = 0;
    int64_t changed = 0;
    bool operator==(const Identity&) const = default;
  };
  void begin_temporary();
  void flush();
  [[noreturn]] void fail_errno(const char* what, int error) const;
  static Identity identity_of(const std::string& path);

  std::string path_, target_;  // as given; what it names
  PartialFile temporary_;      // not open: `through_` is
  Identity before_;
  int through_ = -1;
  std::string buffer_;
};

}  // namespace hearth
