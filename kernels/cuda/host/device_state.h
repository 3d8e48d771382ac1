// What the backend's host code shares. One GPU, one queue of operations, one thread that queues.
#pragma once

#include <cuda_runtime.h>

#include <string>

#include "kernels/cuda/backend.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/host/failure.h"

namespace hearth::gpu {

inline cudaStream_t stream_of(const Exec& exec) {
  return static_cast<cudaStream_t>(exec.stream);
}

// The queue of all operations.
extern cudaStream_t compute_stream;

// ---- memory.cu
std::byte* buffer(size_t bytes);
void release(std::byte* buffer, size_t bytes);
void move(const Exec& exec, const void* from, void* to, size_t bytes);
std::string finish(const Exec& exec);
void memory(size_t* total, size_t* free);
std::byte* shared_buffer(size_t bytes);
void release_shared(std::byte* buffer, size_t bytes);

// Memory of the host's that the GPU copies from and to by itself; null where the system refuses to lock it, which is
// kept for gpu_refusal().
std::byte* lock_memory(size_t bytes);
// Copies cannot be recorded then.
bool locking_refused();

// ---- fetch.cu
int64_t fetch(const std::byte* from, std::byte* to, size_t bytes);
bool fetched(int64_t number);
void order_fetch(const Exec& exec);
void await_fetch(const Exec& exec, int64_t number);

// ---- upload.cu: large copies from pageable memory, a mapped file's for instance; done when it returns. False: failed,
// which was noted.
bool upload(const std::byte* from, std::byte* to, size_t bytes);

// ---- step.cu
void step(const Exec& exec, const StepKey& key, void (*queue)(const void* context), const void* context);
void forget_steps();  // recorded ones, because memory they use goes away
void aside(const Exec& exec, void (*work)(void* context), void* context);
void rejoin(const Exec& exec);

// ---- matmul.cu: few tokens by matmul_vec, many by matmul_tile
size_t matmul_scratch(const ScratchLimits& limits);
void matmul(const Exec& exec, const Weight& w, Mat<const float> x, Mat<float> y);
void matmul_pair(const Exec& exec, const Weight& a, const Weight& b, Mat<const float> x, Mat<float> y_a,
                 Mat<float> y_b);
void matmul_heads(const Exec& exec, const Weight& w, Heads<const float> x, Heads<float> y);
void ffn(const Exec& exec, const FfnWeights& w, Mat<const float> x, Mat<float> y);
void moe_ffn(const Exec& exec, const FfnWeights& experts, const FfnWeights& shared, const int32_t* ids,
             const float* weights, int64_t n_activated, Mat<const float> x, Mat<float> y);

}  // namespace hearth::gpu
