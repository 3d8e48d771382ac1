#include "tests/emulation/shared_memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "tests/emulation/fiber.h"
#include "tests/emulation/race_check.h"

#if HEARTH_EMULATION_ASAN
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(p, bytes) ((void)(p), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(p, bytes) ((void)(p), (void)(bytes))
#endif

namespace hearth::emulation {

namespace {

constexpr size_t kGap = 128;  // after each array, where accesses are seen

size_t gap() {
  return HEARTH_EMULATION_ASAN || race_check ? kGap : 0;
}

}  // namespace

SharedMemory::SharedMemory() : base_(static_cast<char*>(std::aligned_alloc(4096, kArena))) {
  ASAN_POISON_MEMORY_REGION(base_, kArena);
}

SharedMemory::~SharedMemory() {
  ASAN_UNPOISON_MEMORY_REGION(base_, kArena);
  std::free(base_);
}

void SharedMemory::begin_block(size_t dynamic_bytes) {
  ASAN_POISON_MEMORY_REGION(base_, used_);
  used_ = static_bytes_ = 0;
  arrays_.clear();
  pieces_.clear();
  dynamic_bytes_ = dynamic_bytes;
  dynamic_ = carve(dynamic_bytes, 128);
}

void* SharedMemory::array(const void* key, size_t bytes, size_t alignment) {
  for (const Array& a : arrays_) {
    if (a.key == key) return a.data;
  }
  static_bytes_ = (static_bytes_ + alignment - 1) / alignment * alignment + bytes;
  if (static_bytes_ > kMaxStaticShared || static_bytes_ + dynamic_bytes_ > kMaxShared) return nullptr;
  arrays_.push_back({key, carve(bytes, alignment)});
  return arrays_.back().data;
}

bool SharedMemory::in_array(const void* p, size_t bytes) const {
  const size_t first = offset(p);
  return std::ranges::any_of(pieces_, [&](const Piece& a) { return a.first <= first && first + bytes <= a.end; });
}

char* SharedMemory::carve(size_t bytes, size_t alignment) {
  const size_t offset = (used_ + gap() + alignment - 1) / alignment * alignment;
  used_ = offset + bytes;
  pieces_.push_back({offset, used_});
  ASAN_UNPOISON_MEMORY_REGION(base_ + offset, bytes);
  std::memset(base_ + offset, 0xff, bytes);
  return base_ + offset;
}

void AsyncCopies::issue(void* to, const void* from, size_t bytes, size_t read, bool eager) {
  copies_.push_back({to, from, uint32_t(bytes), uint32_t(read), open_, false});
  if (eager) land(copies_.back());
}

void AsyncCopies::land(Copy& copy) {
  if (copy.landed) return;
  if (copy.read) std::memcpy(copy.to, copy.from, copy.read);
  std::memset(static_cast<char*>(copy.to) + copy.read, 0, copy.bytes - copy.read);
  copy.landed = true;
}

bool AsyncCopies::land_before(int64_t group) {
  const size_t before = first_;
  while (first_ < copies_.size() && copies_[first_].group < group) {
    land(copies_[first_]);
    if (race_check) race_copy_landed(copies_[first_].to, copies_[first_].bytes);
    first_++;
  }
  const bool any = first_ > before;
  if (first_ == copies_.size()) {
    copies_.clear();
    first_ = 0;
  }
  return any;
}

}  // namespace hearth::emulation
