#include "tests/emulation/race_check.h"

#include <algorithm>
#include <bit>

namespace hearth::emulation {

constinit bool race_check = false;

void RaceCheck::begin_block(size_t arena_bytes) {
  bytes_.resize(arena_bytes);
  interval_++;
  block_++;
}

void RaceCheck::warp_barrier(int warp, uint32_t lanes) {
  uint32_t known[32] = {}, newest = 0;
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const uint32_t* const seen = seen_[32 * warp + std::countr_zero(rest)];
    for (int l = 0; l < 32; l++) known[l] = std::max(known[l], seen[l]);
    newest = std::max(newest, seen[std::countr_zero(rest)]);
  }
  for (uint32_t rest = lanes; rest; rest &= rest - 1) known[std::countr_zero(rest)] = newest + 1;
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    std::copy(known, known + 32, seen_[32 * warp + std::countr_zero(rest)]);
  }
}

std::string RaceCheck::access(int thread, size_t offset, size_t bytes, Access kind) {
  const uint32_t now = seen_[thread][thread % 32];
  const char* wrong = nullptr;
  int other = 0;
  for (size_t i = offset; i < offset + bytes; i++) {
    Byte& b = bytes_[i];
    if (b.copied_block == block_) {
      wrong = "touches bytes that a cp.async may still write, issued by thread ";
      other = b.copier;
    } else if (b.write_interval == interval_ && !ordered(thread, b.writer, b.write_time) &&
               !(kind == Access::atomic && b.written_atomically)) {
      wrong = kind == Access::read ? "reads, with no barrier between, what was written by thread "
                                   : "writes, with no barrier between, what was written by thread ";
      other = b.writer;
    } else if (kind != Access::read && b.read_interval == interval_) {
      for (uint32_t rest = b.readers; rest && !wrong; rest &= rest - 1) {
        other = 32 * b.reader_warp + std::countr_zero(rest);
        if (b.several_warps_read || !ordered(thread, other, b.read_time)) {
          wrong = "writes, with no barrier between, what was read by thread ";
        }
      }
    }
    if (wrong) return "race in shared memory: this thread " + std::string(wrong) + std::to_string(other);
    if (kind == Access::read) {
      note_read(b, thread);
    } else {
      b.write_interval = interval_;
      b.write_time = now;
      b.writer = uint16_t(thread);
      b.written_atomically = kind == Access::atomic;
    }
  }
  return {};
}

// Of reads within a warp those are kept that no later one comes after: a write after the later is after both.
void RaceCheck::note_read(Byte& b, int thread) {
  const int warp = thread / 32, lane = thread % 32;
  const uint32_t now = seen_[thread][lane];
  if (b.read_interval != interval_) {
    b.several_warps_read = false;
    b.readers = 0;
  } else if (b.reader_warp != warp) {
    b.several_warps_read = true;
    b.readers = 0;
  } else if (b.read_time != now) {
    for (uint32_t rest = b.readers; rest; rest &= rest - 1) {
      const int other = std::countr_zero(rest);
      if (ordered(thread, 32 * warp + other, b.read_time)) b.readers &= ~(1u << other);
    }
  }
  b.read_time = b.readers ? std::min(b.read_time, now) : now;
  b.readers |= 1u << lane;
  b.read_interval = interval_;
  b.reader_warp = uint8_t(warp);
}

std::string RaceCheck::copy_issued(int thread, size_t offset, size_t bytes) {
  std::string wrong = access(thread, offset, bytes, Access::write);
  for (size_t i = offset; i < offset + bytes; i++) {
    bytes_[i].copied_block = block_;
    bytes_[i].copier = uint16_t(thread);
  }
  return wrong;
}

void RaceCheck::copy_landed(int thread, size_t offset, size_t bytes) {
  for (size_t i = offset; i < offset + bytes; i++) {
    Byte& b = bytes_[i];
    b.copied_block = 0;
    b.write_interval = interval_;
    b.write_time = seen_[thread][thread % 32];
    b.writer = uint16_t(thread);
    b.written_atomically = false;
  }
}

}  // namespace hearth::emulation
