// Memory of a backend for as long as the object lives: zeroed, aligned to 64.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>

#include "kernels/ops.h"
#include "quant/error.h"

namespace hearth {

class Buffer {
 public:
  Buffer() = default;
  // Throws Error(resource) naming `what`, the bytes asked for and, on a GPU, those that are free.
  Buffer(const Ops& ops, size_t bytes, const char* what) : ops_(&ops), bytes_(std::max<size_t>(bytes, 64)) {
    data_ = ops.buffer(bytes_);
    if (!data_) refuse(what);
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
  // Memory that was free when it was counted may be another program's by now.
  [[noreturn]] void refuse(const char* what) const {
    const std::string failure = ops_->finish({.stream = ops_->stream});
    require(failure.empty(), ErrorKind::resource, "{}: {}", what, failure);
    size_t total = 0, free = 0;
    ops_->memory(&total, &free);
    require(total == 0, ErrorKind::resource,
            "out of memory: {} bytes are needed for {}, but of the GPU's {} only {} are free", bytes_, what, total,
            free);
    fail(ErrorKind::resource, "out of memory: {} bytes are needed for {}", bytes_, what);
  }

  void swap(Buffer& other) noexcept {
    std::swap(ops_, other.ops_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
  }

  const Ops* ops_ = nullptr;
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

// Memory of the host's that the GPU copies from and to by itself.
class SharedBuffer {
 public:
  SharedBuffer() = default;
  // Throws Error(resource).
  SharedBuffer(const Ops& ops, size_t bytes) : ops_(&ops), data_(ops.shared_buffer(bytes)), bytes_(bytes) {
    require(data_ != nullptr, ErrorKind::resource, "out of memory: {} bytes are needed for what crosses to the GPU",
            bytes);
  }
  ~SharedBuffer() {
    if (data_) ops_->release_shared(data_, bytes_);
  }
  SharedBuffer(SharedBuffer&& other) noexcept { swap(other); }
  SharedBuffer& operator=(SharedBuffer&& other) noexcept {
    swap(other);
    return *this;
  }
  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  void swap(SharedBuffer& other) noexcept {
    std::swap(ops_, other.ops_);
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
  }

  const Ops* ops_ = nullptr;
  std::byte* data_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace hearth
