// Finds races in shared memory, under any schedule: two accesses to a byte by different threads, one of them a write,
// with nothing between that orders them; and accesses to bytes that a cp.async is still to write.
//
// Who sees the accesses: kernel files are compiled with -fsanitize=thread and linked with race_hooks.cpp instead of
// ThreadSanitizer's library, which would take fibers, stacks and the emulation itself for what is being tested.
//
// What orders two accesses: __syncthreads (which ends an interval) and, within a warp, __syncwarp of both lanes. Each
// lane has a clock that moves at every __syncwarp, and knows how far the others' were when it last met them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace hearth::emulation {

// Set by the hooks, where a program is linked with them.
extern constinit bool race_check;

class RaceCheck {
 public:
  enum class Access { read, write, atomic };

  void begin_block(size_t arena_bytes);
  void barrier() { interval_++; }
  void warp_barrier(int warp, uint32_t lanes);
  // By `thread` to bytes of the arena: empty, or what is wrong.
  std::string access(int thread, size_t offset, size_t bytes, Access kind);
  std::string copy_issued(int thread, size_t offset, size_t bytes);
  void copy_landed(int thread, size_t offset, size_t bytes);

 private:
  struct Byte {
    uint32_t write_interval = 0, write_time = 0, read_interval = 0, read_time = 0;
    uint32_t readers = 0;       // lanes of reader_warp
    uint32_t copied_block = 0;  // the block in which a copy to here was issued and has not landed
    uint16_t writer = 0, copier = 0;
    uint8_t reader_warp = 0;
    bool several_warps_read = false, written_atomically = false;
  };
  void note_read(Byte& b, int thread);
  bool ordered(int thread, int earlier, uint32_t time) const {
    return thread == earlier || (thread / 32 == earlier / 32 && seen_[thread][earlier % 32] > time);
  }

  std::vector<Byte> bytes_;
  uint32_t interval_ = 0, block_ = 0;
  uint32_t seen_[1024][32] = {};  // seen_[t][l]: the clock of lane l of t's warp, as t knows it; its own is exact
};

// An access by the running thread, at that place of its code; anywhere, but only shared memory is looked at. Whoever
// counts accesses (traffic.h) is told of all of them. `is_row`: of a matrix, for ldmatrix.
void race_access(const void* code, const void* p, size_t bytes, RaceCheck::Access kind, bool is_row = false);
// The same of what the compiler takes for aligned to its size, as a GPU's code needs it: another address fails.
void aligned_access(const void* code, const void* p, size_t bytes, RaceCheck::Access kind);
void race_copy_issued(const void* code, const void* to, const void* from, size_t bytes, size_t read);
void race_copy_landed(const void* to, size_t bytes);

}  // namespace hearth::emulation
