// The scratch memory of one operation, of any backend: taken from the front, never given back, free for the next one.
//
// Each operation lays its scratch out in one function, which serves twice: over real memory when the operation runs or
// is queued, and over none when `Ops::scratch_bytes` measures. So the two cannot disagree.
//
// Local to each file: the header is also compiled with instruction-set flags (kernels/cpu), and no inline function of
// such a file may be the copy that the linker keeps for all.
#pragma once

#include <cassert>
#include <cstddef>
#include <cstdint>

#include "kernels/ops.h"
#include "quant/round_up.h"

namespace hearth {
namespace {

class Scratch {
 public:
  Scratch() = default;  // measures: hands out null
  explicit Scratch(const Exec& exec) : memory_(exec.scratch.data()), size_(exec.scratch.size()) {}

  // n values of T, aligned to 256 as the rows of a GPU's memory are (or as far as the memory itself is: 64 on the CPU),
  // holding whatever the last operation left.
  template <class T>
  T* take(int64_t n) {
    const size_t at = used_;
    used_ += round_up(size_t(n) * sizeof(T), 256);
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
