// Lets the disk begin with what was written while more is written, so that it is never idle and what waits for it in
// memory stays bounded, however slow it is.
#pragma once

#include <cstdint>
#include <deque>

namespace hearth {

class WriteBehind {
 public:
  WriteBehind() = default;
  explicit WriteBehind(int fd) : fd_(fd) {}

  // These bytes of the file have been written; mostly they follow the last ones. Waits until the disk has all but the
  // last 256 MiB. A hint: what the disk cannot do is said by the sync at the end.
  void add(uint64_t offset, uint64_t bytes);
  uint64_t bytes_begun() const { return bytes_begun_; }  // that were not waited for yet

 private:
  struct Range {
    uint64_t begin = 0, end = 0;
  };
  void begin_gathered();

  int fd_ = -1;
  Range gathered_;
  std::deque<Range> begun_;
  uint64_t bytes_begun_ = 0;
};

}  // namespace hearth
