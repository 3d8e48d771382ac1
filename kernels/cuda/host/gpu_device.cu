#include "kernels/cuda/host/gpu_device.h"

#include <cstdlib>
#include <cstring>

#include "kernels/cuda/host/capability.h"
#include "kernels/cuda/host/small_moves.h"
#include "kernels/cuda/kernel.h"

// The GPUs that kernels were compiled for (kernels/CMakeLists.txt).
#ifndef HEARTH_CUDA_CODE
#define HEARTH_CUDA_CODE "80:89:90:120"
#endif

namespace hearth::gpu {
namespace {

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

// Why there are no devices. A driver that is missing and one that is too old are the same error.
std::string why_none(cudaError_t error) {
  if (error == cudaSuccess) return "the driver found none";
  int driver = 0;
  if (error != cudaErrorInsufficientDriver || cudaDriverGetVersion(&driver) != cudaSuccess) {
    return cudaGetErrorString(error);
  }
  if (driver == 0) return "no NVIDIA driver is installed";
  return "the NVIDIA driver is too old: it knows CUDA up to " + version_text(driver) +
         ", and this program is built for " + version_text(CUDART_VERSION) + "; a newer driver is to be installed";
}

cudaError_t allocate_counters(Queue& queue) {
  constexpr size_t kBytes = Queue::kCounters * sizeof(unsigned);
  if (const cudaError_t error = cudaMalloc(&queue.counters, kBytes)) return error;
  if (const cudaError_t error = cudaMemsetAsync(queue.counters, 0, kBytes, queue.stream)) return error;
  return cudaStreamSynchronize(queue.stream);
}

}  // namespace

std::unique_ptr<GpuDevice> GpuDevice::open(int number, std::string& why_not) {
  int n_devices = 0;  // which cudaGetDeviceCount leaves alone when it fails
  if (const cudaError_t error = cudaGetDeviceCount(&n_devices); error != cudaSuccess || n_devices == 0) {
    cudaGetLastError();
    why_not = "no GPU can be used: " + why_none(error);
    return nullptr;
  }
  cudaDeviceProp properties{};
  if (number >= n_devices) {
    why_not = "there is no GPU " + std::to_string(number) + ": expected 0 to " + std::to_string(n_devices - 1);
    return nullptr;
  }
  Queue queue;
  cudaError_t error = cudaSetDevice(number);
  if (error == cudaSuccess) error = cudaGetDeviceProperties(&properties, number);
  if (error == cudaSuccess) error = cudaStreamCreateWithFlags(&queue.stream, cudaStreamNonBlocking);
  if (error == cudaSuccess) error = allocate_counters(queue);
  if (error != cudaSuccess) {
    why_not = std::string("the GPU cannot be opened: ") + cudaGetErrorString(error);
    cudaFree(queue.counters);
    if (queue.stream) cudaStreamDestroy(queue.stream);
    return nullptr;
  }
  queue.multiprocessors = properties.multiProcessorCount;
  queue.kernels_wait = kernels_wait();
  const int capability = properties.major * 10 + properties.minor;
  queue.halved_float_sums = halves_float_sums(capability);
  std::unique_ptr<GpuDevice> device(new GpuDevice(number, queue));
  constexpr int kOldest = 80;
  if (capability < kOldest) {
    why_not = std::string(properties.name) + " is too old: compute capability " + std::to_string(properties.major) +
              "." + std::to_string(properties.minor) + ", expected at least 8.0";
    return nullptr;
  }
  return device;
}

int GpuDevice::largest() {
  int n_devices = 0, found = 0;
  size_t most = 0;
  if (cudaGetDeviceCount(&n_devices) != cudaSuccess) n_devices = 0;
  for (int i = 0; i < n_devices; ++i) {
    cudaDeviceProp properties{};
    if (cudaGetDeviceProperties(&properties, i) != cudaSuccess || properties.totalGlobalMem <= most) continue;
    most = properties.totalGlobalMem;
    found = i;
  }
  cudaGetLastError();
  return found;
}

GpuDevice::~GpuDevice() {
  wait();
  cudaFree(queue_.counters);
  cudaStreamDestroy(queue_.stream);
}

std::string GpuDevice::description() const {
  cudaDeviceProp p{};
  int n_devices = 1;
  if (cudaGetDeviceProperties(&p, number_) != cudaSuccess || cudaGetDeviceCount(&n_devices) != cudaSuccess) return {};
  const size_t tenths =
      p.totalGlobalMem / (size_t(1) << 30) * 10 + p.totalGlobalMem % (size_t(1) << 30) * 10 / (size_t(1) << 30);
  const std::string which =
      n_devices == 1 ? "" : ", GPU " + std::to_string(number_) + " of 0 to " + std::to_string(n_devices - 1);
  return std::string(p.name) + ", sm_" + std::to_string(p.major * 10 + p.minor) + ", " + std::to_string(tenths / 10) +
         "." + std::to_string(tenths % 10) + " GiB" + which;
}

// Code for sm_80 runs on 8.0 to 8.9, that for sm_90 on 9.0; what has none of its major number gets the intermediate
// code translated.
std::string GpuDevice::slow_start() const {
  cudaDeviceProp p{};
  if (cudaGetDeviceProperties(&p, number_) != cudaSuccess) return {};
  for (const char* code = HEARTH_CUDA_CODE; *code; code += *code == ':') {
    char* end = nullptr;
    const long compiled = std::strtol(code, &end, 10);
    if (compiled / 10 == p.major && compiled % 10 <= p.minor) return {};
    code = end;
  }
  return "this build has no code for sm_" + std::to_string(p.major * 10 + p.minor) +
         ": the driver translates the kernels as they are first used, which takes a minute and is kept for later "
         "starts";
}

Courier& GpuDevice::courier() {
  if (!courier_) courier_ = std::make_unique<Courier>(number_, queue_, locked_);
  return *courier_;
}

Carriers& GpuDevice::carriers() {
  if (!carriers_) carriers_ = std::make_unique<Carriers>(number_, queue_, locked_);
  return *carriers_;
}

std::byte* GpuDevice::buffer(size_t bytes) {
  make_current();
  return memory_.allocate(bytes);
}

void GpuDevice::release(std::byte* buffer, size_t) {
  if (!buffer) return;
  make_current();
  memory_.free(buffer);
}

std::byte* GpuDevice::shared_buffer(size_t bytes) {
  make_current();
  return memory_.allocate_shared(bytes);
}

void GpuDevice::release_shared(std::byte* buffer, size_t) {
  if (!buffer) return;
  make_current();
  wait();
  memory_.free_shared(buffer);
}

Device::Memory GpuDevice::memory() {
  make_current();
  Device::Memory memory;
  queue_.check(cudaMemGetInfo(&memory.free, &memory.total), "asking for the GPU's memory");
  return memory;
}

void GpuDevice::move(const void* from, void* to, size_t bytes) {
  make_current();
  const cudaStream_t stream = queue_.stream;
  const bool reads_device = memory_.on_device(from), writes_device = memory_.on_device(to);
  if (!reads_device && !writes_device) {
    std::memcpy(to, from, bytes);
  } else if (reads_device && writes_device) {
    queue_.check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream), "a copy inside the GPU");
  } else if (memory_.is_shared(writes_device ? from : to)) {
    const bool in = writes_device;
    queue_.check(cudaMemcpyAsync(to, from, bytes, in ? cudaMemcpyHostToDevice : cudaMemcpyDeviceToHost, stream),
                 in ? "a copy to the GPU" : "a copy from the GPU");
  } else if (std::byte* const piece = staging_.take(bytes); piece && writes_device) {
    std::memcpy(piece, from, bytes);
    queue_.check(cudaMemcpyAsync(to, piece, bytes, cudaMemcpyHostToDevice, stream), "a copy to the GPU");
  } else if (piece) {
    queue_.check(cudaMemcpyAsync(piece, from, bytes, cudaMemcpyDeviceToHost, stream), "a copy from the GPU");
    staging_.hand_over_later(piece, to, bytes);
  } else if (writes_device) {
    wait();  // it may still read what is overwritten
    carriers().upload(static_cast<const std::byte*>(from), static_cast<std::byte*>(to), bytes);
  } else {
    queue_.check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, stream), "a copy from the GPU");
  }
}

void GpuDevice::move_small(std::span<const SmallMove> moves) {
  make_current();
  if (reads_shared()) {
    small_moves(queue_, moves);
  } else {
    for (const SmallMove& m : moves) move(m.from, m.to, m.bytes);
  }
}

std::string GpuDevice::finish() {
  make_current();
  wait();
  staging_.settle();
  const Failure failure = failures_.take();
  if (failure.error == cudaSuccess) return {};
  cudaGetLastError();  // an allocation that failed must not fail the next launch too
  return failure.what + ": " + cudaGetErrorString(failure.error);
}

void GpuDevice::step(const StepKey& key, void (*queue)(const void* context), const void* context) {
  make_current();
  steps_.step(key, locked_.refused_bytes() == 0, queue, context);
}

int64_t GpuDevice::fetch(const std::byte* from, std::byte* to, size_t bytes) {
  make_current();
  return courier().take(from, to, bytes);
}

std::string GpuDevice::refusal() const {
  if (locked_.refused_bytes() > 0) {
    return "the system refused to lock " + std::to_string(locked_.refused_bytes()) +
           " bytes of memory in place: copies to and from the GPU are slower, and no step is recorded";
  }
  if (!steps_.refusal().empty()) {
    return "the GPU's driver refused to record a step (" + steps_.refusal() +
           "): the operations of each token are queued one by one, which is slower";
  }
  return {};
}

}  // namespace hearth::gpu
