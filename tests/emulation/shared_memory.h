// The shared memory of a block, and the copies into it that a thread has under way.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace hearth::emulation {

// The least that our GPUs let a block have (sm_89, sm_120), and what one may have without asking at the launch.
inline constexpr size_t kMaxShared = 99 * 1024, kMaxStaticShared = 48 * 1024;

// Every array starts as 0xFF bytes, NaN in all formats, so that what nobody wrote is seen. Where accesses are seen, by
// AddressSanitizer or the race check, nothing between and around the arrays may be touched.
class SharedMemory {
 public:
  static constexpr size_t kArena = 256 * 1024;  // what a block may have, and the gaps

  SharedMemory();
  ~SharedMemory();
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  void begin_block(size_t dynamic_bytes);
  void* dynamic() const { return dynamic_; }
  // The array called `key`, made now if need be. Null: the block has no room for it.
  void* array(const void* key, size_t bytes, size_t alignment);
  bool contains(const void* p, size_t bytes) const {
    const size_t at = offset(p);
    return at < used_ && bytes <= used_ - at;
  }
  bool in_arena(const void* p) const { return offset(p) < kArena; }
  // Whether these bytes of the arena belong to one array.
  bool in_array(const void* p, size_t bytes) const;
  size_t offset(const void* p) const { return size_t(static_cast<const char*>(p) - base_); }

 private:
  char* carve(size_t bytes, size_t alignment);

  struct Array {
    const void* key;
    char* data;
  };
  struct Piece {
    size_t first, end;  // in the arena
  };
  char* base_ = nullptr;
  char* dynamic_ = nullptr;
  size_t used_ = 0, static_bytes_ = 0, dynamic_bytes_ = 0;
  std::vector<Array> arrays_;
  std::vector<Piece> pieces_;  // all arrays, and the dynamic one
};

// The cp.async of one thread. Each lands when it is issued (eager) or when the thread waits for its group.
class AsyncCopies {
 public:
  void issue(void* to, const void* from, size_t bytes, size_t read, bool eager);
  void commit() { open_++; }
  // Whether any had to be waited for.
  bool wait(int newest_groups) { return !copies_.empty() && land_before(int64_t(open_) - newest_groups); }
  void land_all() {
    if (!copies_.empty()) land_before(int64_t(open_) + 1);
    open_ = 0;
  }
  void clear() {
    copies_.clear();
    first_ = open_ = 0;
  }

 private:
  struct Copy {
    void* to;
    const void* from;
    uint32_t bytes, read;  // as many are written; the last bytes - read are zeros
    uint32_t group;
    bool landed;
  };
  static void land(Copy& copy);
  bool land_before(int64_t group);  // whether any was not there before, or might not have been

  std::vector<Copy> copies_;  // in order; those before first_ are done
  size_t first_ = 0;
  uint32_t open_ = 0;  // the group that the next copy joins
};

}  // namespace hearth::emulation
