// Arrays in device memory for tests, written against the runtime API alone: the same on a GPU and emulated.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <span>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#ifdef HEARTH_EMULATED_CUDA
#include "tests/emulation/race_check.h"
#include "tests/emulation/settings.h"
#endif

namespace hearth::test {

inline void check_cuda(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::string text = std::string(what) + ": " + cudaGetErrorString(error);
#ifdef HEARTH_EMULATED_CUDA
  if (const std::string why = emulation::last_failure(); !why.empty()) text += " (" + why + ")";
#endif
  throw std::runtime_error(text);
}

// n values on the device, at first all bytes 0xFF: NaN in every float format. Behind them lie some more such bytes,
// which `download` checks, unless AddressSanitizer or the race check looks at what lies behind.
template <class T>
class DeviceArray {
 public:
  DeviceArray() = default;
  explicit DeviceArray(size_t n) : n_(n) {
    check_cuda(cudaMalloc(&data_, bytes() + bytes_behind()), "cudaMalloc");
    poison();
  }
  explicit DeviceArray(std::span<const T> values) : DeviceArray(values.size()) { upload(values); }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(std::span<const T>(values)) {}
  ~DeviceArray() { cudaFree(data_); }
  DeviceArray(DeviceArray&& other) noexcept : data_(other.data_), n_(other.n_) { other.data_ = nullptr; }
  DeviceArray& operator=(DeviceArray&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(n_, other.n_);
    return *this;
  }

  T* data() const { return data_; }
  size_t size() const { return n_; }
  size_t bytes() const { return n_ * sizeof(T); }
  operator T*() const { return data_; }

  void poison() {
    check_cuda(cudaMemset(data_, 0xff, bytes() + bytes_behind()), "cudaMemset");
    check_cuda(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  }
  void upload(std::span<const T> values) {
    if (values.size() > n_) throw std::runtime_error("DeviceArray::upload: more values than the array has");
    check_cuda(cudaDeviceSynchronize(), "before upload");
    check_cuda(cudaMemcpy(data_, values.data(), values.size_bytes(), cudaMemcpyHostToDevice), "upload");
  }
  // Waits for the device. Throws if a kernel failed, or wrote behind the array.
  std::vector<T> download() const {
    check_cuda(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    std::vector<T> values(n_);
    check_cuda(cudaMemcpy(values.data(), data_, bytes(), cudaMemcpyDeviceToHost), "download");
    unsigned char behind[kBehind + 1];
    check_cuda(
        cudaMemcpy(behind, reinterpret_cast<const char*>(data_) + bytes(), bytes_behind(), cudaMemcpyDeviceToHost),
        "download");
    for (size_t i = 0; i < bytes_behind(); i++) {
      if (behind[i] != 0xff) throw std::runtime_error("a kernel wrote behind the end of an array");
    }
    return values;
  }

 private:
  static constexpr size_t kBehind = 64;
  static size_t bytes_behind() {
#ifdef __SANITIZE_ADDRESS__
    return 0;
#elif defined(HEARTH_EMULATED_CUDA)
    return emulation::race_check ? 0 : kBehind;
#else
    return kBehind;
#endif
  }
  T* data_ = nullptr;
  size_t n_ = 0;
};

}  // namespace hearth::test
