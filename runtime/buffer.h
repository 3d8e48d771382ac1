// Memory of a backend for as long as the object lives: zeroed, aligned to 64.
#pragma once

#include <algorithm>
#include <cstddef>
#include <utility>

#include "kernels/ops.h"
#include "quant/error.h"

namespace hearth {

class Buffer {
 public:
  Buffer() = default;
  // Throws Error(resource) naming `what` and the bytes asked for.
  Buffer(const Ops& ops, size_t bytes, const char* what) : ops_(&ops), bytes_(std::max<size_t>(bytes, 64)) {
    data_ = ops.buffer(bytes_);
    require(data_ != nullptr, ErrorKind::resource, "out of memory: {} needs {} bytes", what, bytes_);
  }
  ~Buffer() {
    if (data_) ops_->release(data_, bytes_);
  }
  Buffer(Buffer&& other) noexcept { swap(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    swap(other);
    return *this;
  }

  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  void swap(Buffer& other) noexcept {
    std::swap(ops_, other.ops_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
  }

  const Ops* ops_ = nullptr;
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace hearth
