// Memory of a device for as long as the object lives: zeroed, aligned to 64.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>

#include "kernels/device.h"
#include "quant/error.h"

namespace hearth {

// A block that `allocate` gave and `release` takes back.
template <std::byte* (Device::*allocate)(size_t), void (Device::*release)(std::byte*, size_t)>
class OwnedMemory {
 public:
  OwnedMemory() = default;
  // data() is null when there is none left.
  OwnedMemory(Device& device, size_t bytes)
      : device_(&device), bytes_(std::max<size_t>(bytes, 64)), data_((device.*allocate)(bytes_)) {}
  ~OwnedMemory() {
    if (data_) (device_->*release)(data_, bytes_);
  }
  OwnedMemory(OwnedMemory&& other) noexcept { swap(other); }
  OwnedMemory& operator=(OwnedMemory&& other) noexcept {
    swap(other);
    return *this;
  }

  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  void swap(OwnedMemory& other) noexcept {
    std::swap(device_, other.device_);
    std::swap(bytes_, other.bytes_);
    std::swap(data_, other.data_);
  }

  Device* device_ = nullptr;
  size_t bytes_ = 0;
  std::byte* data_ = nullptr;
};

class Buffer : public OwnedMemory<&Device::buffer, &Device::release> {
 public:
  Buffer() = default;
  // Throws Error(resource) naming `what`, the bytes asked for and, on a GPU, those that are free.
  Buffer(Device& device, size_t bytes, const char* what) : OwnedMemory(device, bytes) {
    if (!data()) refuse(device, what);
  }

 private:
  // Memory that was free when it was counted may be another program's by now.
  [[noreturn]] void refuse(Device& device, const char* what) const {
    const std::string failure = device.finish();
    require(failure.empty(), ErrorKind::resource, "{}: {}", what, failure);
    const Device::Memory memory = device.memory();
    require(memory.total == 0, ErrorKind::resource,
            "out of memory: {} bytes are needed for {}, but of the GPU's {} only {} are free", bytes(), what,
            memory.total, memory.free);
    fail(ErrorKind::resource, "out of memory: {} bytes are needed for {}", bytes(), what);
  }
};

// Memory of the host's that the device copies from and to by itself.
class SharedBuffer : public OwnedMemory<&Device::shared_buffer, &Device::release_shared> {
 public:
  SharedBuffer() = default;
  // Throws Error(resource).
  SharedBuffer(Device& device, size_t bytes) : OwnedMemory(device, bytes) {
    require(data() != nullptr, ErrorKind::resource, "out of memory: {} bytes are needed for what crosses to the GPU",
            bytes);
  }
};

}  // namespace hearth
