// The runtime's functions: errors, the device, memory and copies. Streams, events and graphs: streams.cpp.
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <utility>

#include "tests/emulation/block.h"
#include "tests/emulation/device_memory.h"
#include "tests/emulation/runtime.h"

using namespace hearth::emulation;

namespace hearth::emulation {

namespace {

cudaError_t last_error = cudaSuccess;
std::string last_error_text;

cudaError_t bad_argument(const char* text) {
  std::fprintf(stderr, "CUDA emulation: %s\n", text);
  return cudaErrorInvalidValue;
}

thread_local int current_gpu = 0;

size_t memory_of(int gpu) {
  return gpu == settings().large_gpu ? settings().memory : settings().memory / 2;
}

bool is_host(const void* p, size_t bytes) {
  return !DeviceMemory::get().owns(p) || bytes == 0;
}

struct Rectangle {  // height rows of width bytes
  void* to;
  size_t to_pitch;
  const void* from;
  size_t from_pitch, width, height;
};

// The bytes from the first to the last of one side.
size_t span(size_t pitch, size_t width, size_t height) {
  return height ? pitch * (height - 1) + width : 0;
}

void copy_now(const Rectangle& r) {
  for (size_t i = 0; i < r.height; i++) {
    char* const to = static_cast<char*>(r.to) + i * r.to_pitch;
    std::memmove(to, static_cast<const char*>(r.from) + i * r.from_pitch, r.width);
    if (DeviceMemory::get().owns(to)) DeviceMemory::get().written_otherwise(to, r.width);
  }
}

cudaError_t copy(Rectangle r, cudaMemcpyKind kind, cudaStream_t stream, bool wait) {
  Queue& queue = Queue::get();
  if (wait) {
    if (const cudaError_t error = queue.refuse_while_capturing()) return error;
  }
  if (!queue.knows(stream)) return cudaErrorInvalidResourceHandle;
  if (r.width == 0 || r.height == 0) return queue.broken;
  const size_t to_bytes = span(r.to_pitch, r.width, r.height), from_bytes = span(r.from_pitch, r.width, r.height);
  const bool to_host = is_host(r.to, to_bytes), from_host = is_host(r.from, from_bytes);
  if (kind != cudaMemcpyDefault && kind != (from_host ? to_host ? cudaMemcpyHostToHost : cudaMemcpyHostToDevice
                                            : to_host ? cudaMemcpyDeviceToHost
                                                      : cudaMemcpyDeviceToDevice)) {
    return bad_argument("a copy whose direction is not that of its pointers");
  }
  if (!to_host && !DeviceMemory::get().holds(r.to, to_bytes)) return bad_argument("a copy beyond device memory");
  if (!from_host && !DeviceMemory::get().holds(r.from, from_bytes)) return bad_argument("a copy beyond device memory");

  // Pageable memory: what is read is read before the call returns, what is written is there when it returns.
  std::shared_ptr<std::vector<char>> staged;
  const bool capturing = stream && stream->capture;
  if (from_host && !PinnedMemory::get().holds(r.from, from_bytes)) {
    if (capturing) return cudaErrorStreamCaptureUnsupported;
    ++runtime_calls().waits;  // for the bytes, and with them perhaps for more
    const char* const first = static_cast<const char*>(r.from);
    staged = std::make_shared<std::vector<char>>(first, first + from_bytes);
    r.from = staged->data();
  }
  if (to_host && !PinnedMemory::get().holds(r.to, to_bytes)) {
    if (capturing) return cudaErrorStreamCaptureUnsupported;
    wait = true;
  }
  if (wait && (to_host || from_host) && !staged) ++runtime_calls().waits;
  OpPtr op;
  const cudaError_t error = queue.submit(
      stream,
      [r, staged] {
        if (due(settings().fail_copy)) return cudaErrorUnknown;
        copy_now(r);
        return cudaSuccess;
      },
      &op, OpKind::copy);
  if (error) return error;
  return wait && (to_host || from_host) ? queue.run_until({op}) : cudaSuccess;  // nobody waits within the device
}

cudaError_t fill(void* p, int value, size_t bytes, cudaStream_t stream) {
  if (!Queue::get().knows(stream)) return cudaErrorInvalidResourceHandle;
  if (bytes == 0) return Queue::get().broken;
  if (!DeviceMemory::get().holds(p, bytes)) return bad_argument("cudaMemset beyond device memory");
  return Queue::get().submit(stream, [=] {
    std::memset(p, value, bytes);
    DeviceMemory::get().written_otherwise(p, bytes);
    return cudaSuccess;
  });
}

}  // namespace

cudaError_t note(cudaError_t error) {
  if (error != cudaSuccess && error != cudaErrorNotReady) last_error = error;
  return error;
}

cudaError_t enqueue_launch(const void* kernel, dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
                           std::function<void()> body, const char* name, bool early) {
  const Locked locked;
  Queue& queue = Queue::get();
  const uint64_t threads = uint64_t(block.x) * block.y * block.z, blocks = uint64_t(grid.x) * grid.y * grid.z;
  if (threads == 0 || threads > 1024 || block.z > 64 || blocks == 0 || grid.x > 0x7fffffffu || grid.y > 65535 ||
      grid.z > 65535) {
    std::fprintf(stderr, "CUDA emulation: kernel %s: a grid of (%u, %u, %u) blocks of (%u, %u, %u) threads\n", name,
                 grid.x, grid.y, grid.z, block.x, block.y, block.z);
    return note(cudaErrorInvalidConfiguration);
  }
  if (shared_bytes > queue.shared_memory_limit(kernel)) {
    std::fprintf(stderr, "CUDA emulation: kernel %s: %zu bytes of shared memory\n", name, shared_bytes);
    return note(cudaErrorInvalidValue);
  }
  if (!queue.knows(stream)) return note(cudaErrorInvalidResourceHandle);
  if (stream && stream->capture) stream->capture->launches.push_back({kernel, shared_bytes});
  return note(queue.submit(
      stream,
      [=, body = std::move(body)] {
        if (due(settings().fail_launch)) return cudaErrorLaunchFailure;
        const std::string error = run_grid({grid, block, shared_bytes, &body, name, early});
        if (error.empty()) return cudaSuccess;
        Queue::get().break_device(cudaErrorLaunchFailure, error);
        return cudaErrorLaunchFailure;
      },
      nullptr, OpKind::kernel));
}

std::string last_failure() {
  const Locked locked;
  return Queue::get().failure;
}

void reset() {
  const Locked locked;
  Queue::get().reset();
  last_error = cudaSuccess;
}

}  // namespace hearth::emulation

// ---- Errors

cudaError_t cudaPeekAtLastError() {
  const Locked locked;
  return Queue::get().broken ? Queue::get().broken : last_error;
}

cudaError_t cudaGetLastError() {
  const Locked locked;
  const cudaError_t error = cudaPeekAtLastError();
  last_error = cudaSuccess;
  return error;
}

const char* cudaGetErrorName(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration:
      return "cudaErrorInvalidConfiguration";
    case cudaErrorInsufficientDriver:
      return "cudaErrorInsufficientDriver";
    case cudaErrorNoDevice:
      return "cudaErrorNoDevice";
    case cudaErrorInvalidDevice:
      return "cudaErrorInvalidDevice";
    case cudaErrorInvalidResourceHandle:
      return "cudaErrorInvalidResourceHandle";
    case cudaErrorNotReady:
      return "cudaErrorNotReady";
    case cudaErrorIllegalAddress:
      return "cudaErrorIllegalAddress";
    case cudaErrorLaunchFailure:
      return "cudaErrorLaunchFailure";
    case cudaErrorStreamCaptureUnsupported:
      return "cudaErrorStreamCaptureUnsupported";
    case cudaErrorStreamCaptureInvalidated:
      return "cudaErrorStreamCaptureInvalidated";
    case cudaErrorStreamCaptureUnjoined:
      return "cudaErrorStreamCaptureUnjoined";
    case cudaErrorStreamCaptureImplicit:
      return "cudaErrorStreamCaptureImplicit";
    default:
      return "cudaErrorUnknown";
  }
}

const char* cudaGetErrorString(cudaError_t error) {
  switch (error) {
    case cudaSuccess:
      return "no error";
    case cudaErrorInvalidValue:
      return "invalid argument";
    case cudaErrorMemoryAllocation:
      return "out of memory";
    case cudaErrorInvalidConfiguration:
      return "invalid configuration argument";
    case cudaErrorInsufficientDriver:
      return "CUDA driver version is insufficient for CUDA runtime version";
    case cudaErrorNoDevice:
      return "no CUDA-capable device is detected";
    case cudaErrorInvalidDevice:
      return "invalid device ordinal";
    case cudaErrorInvalidResourceHandle:
      return "invalid resource handle";
    case cudaErrorNotReady:
      return "device not ready";
    case cudaErrorIllegalAddress:
      return "an illegal memory access was encountered";
    case cudaErrorLaunchFailure:
      return "unspecified launch failure";
    case cudaErrorStreamCaptureUnsupported:
      return "operation not permitted when stream is capturing";
    case cudaErrorStreamCaptureInvalidated:
      return "operation failed due to a previous error during capture";
    case cudaErrorStreamCaptureUnjoined:
      return "capturing stream has unjoined work";
    case cudaErrorStreamCaptureImplicit:
      return "operation would make the legacy stream depend on a capturing blocking stream";
    default:
      return "unknown error";
  }
}

// ---- The device

cudaError_t cudaGetDeviceCount(int* count) {
  if (driver_too_old()) return note(cudaErrorInsufficientDriver);  // leaves *count as it was, as the real one does
  *count = settings().gpus;
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
  if (driver_too_old()) return note(cudaErrorInsufficientDriver);
  *device = current_gpu;
  return cudaSuccess;
}

cudaError_t cudaSetDevice(int device) {
  if (driver_too_old()) return note(cudaErrorInsufficientDriver);
  if (device < 0 || device >= settings().gpus) return note(cudaErrorInvalidDevice);
  current_gpu = device;
  return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  if (driver_too_old()) return note(cudaErrorInsufficientDriver);
  if (device < 0 || device >= settings().gpus) return note(cudaErrorInvalidDevice);
  *properties = {};
  std::snprintf(properties->name, sizeof properties->name, "emulated GPU");
  properties->totalGlobalMem = memory_of(device);
  properties->sharedMemPerBlock = kMaxStaticShared;
  properties->sharedMemPerBlockOptin = kMaxShared;
  properties->sharedMemPerMultiprocessor = kMaxShared + 1024;
  properties->regsPerBlock = 65536;
  properties->warpSize = 32;
  properties->maxThreadsPerBlock = 1024;
  properties->maxThreadsPerMultiProcessor = 1536;
  properties->major = settings().capability / 10;
  properties->minor = settings().capability % 10;
  properties->multiProcessorCount = settings().multiprocessors;
  properties->l2CacheSize = 4 << 20;
  properties->memoryBusWidth = 256;
  properties->asyncEngineCount = 1;
  properties->concurrentKernels = 1;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  cudaDeviceProp properties;
  if (const cudaError_t error = cudaGetDeviceProperties(&properties, device)) return error;
  switch (attribute) {
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = int(properties.sharedMemPerBlock);
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = properties.multiProcessorCount;
      break;
    case cudaDevAttrL2CacheSize:
      *value = properties.l2CacheSize;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = properties.major;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = properties.minor;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = int(properties.sharedMemPerBlockOptin);
      break;
    default:
      return note(cudaErrorInvalidValue);
  }
  return cudaSuccess;
}

cudaError_t cudaFuncGetAttributes(cudaFuncAttributes* attributes, const void*) {
  *attributes = {};  // arrays in shared memory are made while a kernel runs
  attributes->ptxVersion = settings().capability;
  return cudaSuccess;
}

cudaError_t cudaFuncSetAttribute(const void* kernel, cudaFuncAttribute attribute, int value) {
  const Locked locked;
  if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess;
  if (value < 0 || size_t(value) > kMaxShared) return note(cudaErrorInvalidValue);
  Queue::get().limit_shared_memory(kernel, size_t(value));
  return cudaSuccess;
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = settings().driver;
  return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int* version) {
  *version = CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaDeviceSynchronize() {
  const Locked locked;
  ++runtime_calls().waits;
  if (const cudaError_t error = Queue::get().refuse_while_capturing()) return note(error);
  return note(Queue::get().run_all());
}

// ---- Memory

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  const Locked locked;
  if (driver_too_old()) return note(cudaErrorInsufficientDriver);
  *total = memory_of(current_gpu);
  const size_t taken = settings().memory - DeviceMemory::get().free();
  *free = *total - std::min(*total, taken);
  settings().others += std::exchange(settings().others_later, 0);
  return note(Queue::get().broken);
}

cudaError_t cudaMalloc(void** p, size_t bytes) {
  const Locked locked;
  ++runtime_calls().allocations;
  *p = nullptr;
  if (driver_too_old()) return note(cudaErrorInsufficientDriver);
  if (const cudaError_t error = Queue::get().refuse_while_capturing()) return note(error);
  if (bytes == 0) return cudaSuccess;
  if (!due(settings().fail_allocation)) *p = DeviceMemory::get().allocate(bytes);
  return note(*p ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t cudaFree(void* p) {
  const Locked locked;
  ++runtime_calls().frees;
  if (!p) return cudaSuccess;
  if (const cudaError_t error = Queue::get().refuse_while_capturing()) {
    if (error == cudaErrorStreamCaptureUnsupported) return note(error);
  }
  Queue::get().run_all();
  if (!DeviceMemory::get().release(p)) return note(bad_argument("cudaFree of what cudaMalloc did not give"));
  return note(Queue::get().broken);
}

cudaError_t cudaHostAlloc(void** p, size_t bytes, unsigned) {
  const Locked locked;
  ++runtime_calls().allocations;
  *p = nullptr;
  if (driver_too_old()) return note(cudaErrorInsufficientDriver);
  if (const cudaError_t error = Queue::get().refuse_while_capturing()) return note(error);
  const bool may = PinnedMemory::get().allocated() + bytes <= settings().lockable;
  if (!due(settings().fail_allocation) && may) *p = PinnedMemory::get().allocate(bytes);
  return note(*p ? cudaSuccess : cudaErrorMemoryAllocation);
}

cudaError_t cudaMallocHost(void** p, size_t bytes) {
  return cudaHostAlloc(p, bytes, cudaHostAllocDefault);
}

cudaError_t cudaFreeHost(void* p) {
  const Locked locked;
  ++runtime_calls().frees;
  if (!p) return cudaSuccess;
  Queue::get().run_all();
  if (!PinnedMemory::get().release(p)) return note(bad_argument("cudaFreeHost of what cudaHostAlloc did not give"));
  return note(Queue::get().broken);
}

cudaError_t cudaHostRegister(void* p, size_t bytes, unsigned) {
  const Locked locked;
  if (const cudaError_t error = Queue::get().refuse_while_capturing()) return note(error);
  return note(PinnedMemory::get().add(p, bytes) ? cudaSuccess : cudaErrorInvalidValue);
}

cudaError_t cudaHostUnregister(void* p) {
  const Locked locked;
  Queue::get().run_all();
  return note(PinnedMemory::get().remove(p) ? Queue::get().broken : cudaErrorInvalidValue);
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  const Locked locked;
  return note(copy({to, bytes, from, bytes, bytes, 1}, kind, nullptr, true));
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t stream) {
  const Locked locked;
  return note(copy({to, bytes, from, bytes, bytes, 1}, kind, stream, false));
}

cudaError_t cudaMemcpy2DAsync(void* to, size_t to_pitch, const void* from, size_t from_pitch, size_t width,
                              size_t height, cudaMemcpyKind kind, cudaStream_t stream) {
  const Locked locked;
  if (width > to_pitch || width > from_pitch) return note(bad_argument("cudaMemcpy2DAsync: rows wider than apart"));
  return note(copy({to, to_pitch, from, from_pitch, width, height}, kind, stream, false));
}

cudaError_t cudaMemset(void* p, int value, size_t bytes) {
  const Locked locked;
  if (const cudaError_t error = Queue::get().refuse_while_capturing()) return note(error);
  return note(fill(p, value, bytes, nullptr));
}

cudaError_t cudaMemsetAsync(void* p, int value, size_t bytes, cudaStream_t stream) {
  const Locked locked;
  return note(fill(p, value, bytes, stream));
}
