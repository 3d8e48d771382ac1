#include "quant/write_behind.h"

#include <fcntl.h>

#include <algorithm>

namespace hearth {
namespace {

constexpr uint64_t kAtOnce = 8 << 20;    // enough for a disk to be quick
constexpr uint64_t kMost = 256 << 20;    // tenths of a second of a fast one, seconds of a slow one
constexpr uint64_t kMostPadding = 4096;  // between what counts as neighbours

}  // namespace

void WriteBehind::add(uint64_t offset, uint64_t bytes) {
  const bool follows = offset >= gathered_.end && offset - gathered_.end <= kMostPadding;
  if (!follows) {
    begin_gathered();
    gathered_ = {offset, offset};
  }
  gathered_.end = offset + bytes;
  if (gathered_.end - gathered_.begin >= kAtOnce) begin_gathered();
  while (bytes_begun_ > kMost) {
    const Range oldest = begun_.front();
    begun_.pop_front();
    bytes_begun_ -= oldest.end - oldest.begin;
    sync_file_range(fd_, off64_t(oldest.begin), off64_t(oldest.end - oldest.begin),
                    SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
  }
}

void WriteBehind::begin_gathered() {
  if (gathered_.end == gathered_.begin) return;
  const uint64_t bytes = gathered_.end - gathered_.begin;
  sync_file_range(fd_, off64_t(gathered_.begin), off64_t(bytes), SYNC_FILE_RANGE_WRITE);
  begun_.push_back(gathered_);
  bytes_begun_ += bytes;
  gathered_.begin = gathered_.end;
}

}  // namespace hearth
