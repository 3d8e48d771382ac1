// The scratch memory of one call: taken from the front, never given back, free again for the next call.
//
// Each operation lays its scratch out in one function, which serves twice: over real memory when the operation runs,
// and over none when `Ops::scratch_bytes` measures. So the two cannot disagree.
// (Local to each file for the reason given in parallel.h.)
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>

#include "kernels/ops.h"

namespace hearth {
namespace {

class Scratch {
 public:
  Scratch() = default;  // measures: hands out null
  explicit Scratch(const Exec& exec) : memory_(exec.scratch.data()), size_(exec.scratch.size()) {}

  // n values of T, aligned to 64, holding whatever the last call left.
  template <class T>
  T* take(int64_t n) {
    const size_t at = used_;
    used_ += (size_t(n) * sizeof(T) + 63) / 64 * 64;
    if (!memory_) return nullptr;
    assert(used_ <= size_ && "Exec::scratch is smaller than Ops::scratch_bytes(limits)");
    return reinterpret_cast<T*>(memory_ + at);
  }
  size_t used() const { return used_; }

 private:
  std::byte* memory_ = nullptr;
  size_t size_ = 0, used_ = 0;
};

}  // namespace
}  // namespace hearth
