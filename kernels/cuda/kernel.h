// What kernels are written with: launches, shared memory, and the few instructions that C++ has no name for.
//
// Every .cu file is compiled twice: by nvcc for the GPU, and by the C++ compiler against tests/emulation, which runs
// the same source on fibers. So kernels keep to these rules: launches by launch(), shared memory by the two macros,
// inline PTX only in the wrappers below (one instruction each; tests/emulation/instructions.h says in plain C++ what
// each computes, and tests/kernels/cuda/conformance.cu compares the two on a GPU), 16-bit floats as uint16_t,
// arithmetic in float.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/queue.h"
#include "quant/fp.h"

#ifdef __CUDACC__
#define GPU_EMULATED 0
// Declares T name[n] in the block's shared memory; its contents are undefined at first.
#define GPU_SHARED(T, name, n) __shared__ T name[n]
// Declares T* name, the shared bytes requested at the launch, aligned to 128. Once per kernel.
#define GPU_DYNAMIC_SHARED(T, name)                                           \
  extern __shared__ __align__(128) unsigned char hearth_gpu_dynamic_shared[]; \
  T* const name = reinterpret_cast<T*>(hearth_gpu_dynamic_shared)
#define GPU_UNROLL _Pragma("unroll")
#define GPU_UNROLL_TWICE _Pragma("unroll 2")
#define GPU_NO_UNROLL _Pragma("unroll 1")
#else
#define GPU_EMULATED 1
#define GPU_SHARED(T, name, n) T(&name)[n] = ::hearth::emulation::shared_array<T, n, decltype([] {})>()
#define GPU_DYNAMIC_SHARED(T, name) T* const name = reinterpret_cast<T*>(::hearth::emulation::dynamic_shared())
#define GPU_UNROLL
#define GPU_UNROLL_TWICE
#define GPU_NO_UNROLL
#endif

#define GPU_FN __device__ __forceinline__

namespace hearth::gpu {

inline constexpr unsigned kAllLanes = 0xffffffffu;

// What launches have in common. `early`: see launch_early.
template <class... P, class... A>
void launch_kernel(const char* name, bool early, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes,
                   const Queue& queue, A... args) {
  const void* const function = reinterpret_cast<const void*>(kernel);
  if (shared_bytes > kUsualSharedBytes) {  // legal while a graph is recorded
    const cudaError_t error = queue.limits ? queue.limits->raise(function) : raise_shared_memory_limit(function);
    if (!queue.check(error, name)) return;
  }
#if GPU_EMULATED
  queue.check(
      emulation::enqueue_launch(
          function, grid, block, shared_bytes, queue.stream, [=] { kernel(static_cast<P>(args)...); }, name, early),
      name);
#else
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = queue.stream;
  cudaLaunchAttribute begins_early{};
  begins_early.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  begins_early.val.programmaticStreamSerializationAllowed = 1;
  config.attrs = &begins_early;
  config.numAttrs = early && queue.kernels_wait ? 1 : 0;
  queue.check(cudaLaunchKernelEx(&config, kernel, static_cast<P>(args)...), name);
#endif
}

// Queues kernel(args...), which begins when all that was queued before is complete. `name` is what error messages call
// it.
template <class... P, class... A>
void launch(const char* name, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes, const Queue& queue,
            A... args) {
  launch_kernel(name, false, kernel, grid, block, shared_bytes, queue, args...);
}

// ---- Kernels that begin while the one before them still runs
//
// Programmatic dependent launch, of compute capability 9.0 and newer; on older GPUs launch_early is launch, and the two
// functions below do nothing. It saves what lies between two kernels (blocks that start, arguments that are read), and
// weights can be under way before the values are there that they are multiplied with.
//
// A kernel that launch_early queues may begin as soon as every block of the launch before it has called
// launch_dependents or has ended; recorded into a graph, that becomes a programmatic edge. Between copies, events and
// other queues' work and such a kernel nothing changes: it begins after them. What a kernel owes in return, and the
// emulation checks (where races are checked, the first two):
//   - before its thread has called wait_for_earlier it reads, of global memory, only what no launch writes: weights and
//     tables. (Any launch of the queue, not just the one before, which may not have waited yet either. Nothing of the
//     host's pinned memory, which the host may write between launches.)
//   - before that it writes nothing in global memory.
//   - every block calls wait_for_earlier, whatever else it does: that this launch is complete must mean to the next
//     one's wait that those before it are complete too.

// Queues kernel(args...) as launch does; it may begin early.
template <class... P, class... A>
void launch_early(const char* name, void (*kernel)(P...), dim3 grid, dim3 block, size_t shared_bytes,
                  const Queue& queue, A... args) {
#ifdef HEARTH_NEVER_EARLY
  static_assert(sizeof...(P) > sizeof...(P), "kernels/CMakeLists.txt: this file has kernels that wait");
#endif
  launch_kernel(name, true, kernel, grid, block, shared_bytes, queue, args...);
}

// The next launch may begin, if it is one that may be early. Says nothing of what this kernel has written, so the first
// line of a kernel is the best place: the next one's blocks start where this one leaves room.
GPU_FN void launch_dependents() {
#if !GPU_EMULATED && __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// Waits until all earlier launches of the queue are complete and what they wrote can be read.
GPU_FN void wait_for_earlier() {
#if GPU_EMULATED
  emulation::wait_for_earlier();
#elif __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// ---- Copies from global to shared memory that the thread does not wait for

// 16 bytes; both aligned to 16. Where `valid` is false nothing is read and zeros are written.
GPU_FN void cp_async_16(void* shared, const void* global, bool valid = true) {
#if GPU_EMULATED
  emulation::cp_async(shared, global, 16, valid);
#else
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(uint32_t(__cvta_generic_to_shared(shared))),
               "l"(global), "r"(valid ? 16 : 0)
               : "memory");
#endif
}

// The first n of 16 bytes, 0 <= n <= 16; both aligned to 16. The bytes after them are not read, and become zeros in
// shared memory.
GPU_FN void cp_async_first(void* shared, const void* global, int n) {
#if GPU_EMULATED
  emulation::cp_async_first(shared, global, size_t(n));
#else
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(uint32_t(__cvta_generic_to_shared(shared))),
               "l"(global), "r"(n)
               : "memory");
#endif
}

// 4 bytes, aligned to 4.
GPU_FN void cp_async_4(void* shared, const void* global, bool valid = true) {
#if GPU_EMULATED
  emulation::cp_async(shared, global, 4, valid);
#else
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(uint32_t(__cvta_generic_to_shared(shared))),
               "l"(global), "r"(valid ? 4 : 0)
               : "memory");
#endif
}

// Closes this thread's group of copies.
GPU_FN void cp_async_commit() {
#if GPU_EMULATED
  emulation::cp_async_commit();
#else
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

// Waits until all but the n newest of this thread's groups are complete. Other threads see the bytes after a barrier.
template <int n>
GPU_FN void cp_async_wait() {
#if GPU_EMULATED
  emulation::cp_async_wait(n);
#else
  asm volatile("cp.async.wait_group %0;" ::"n"(n) : "memory");
#endif
}

// ---- Tensor cores: a warp together

// Four 8 x 8 matrices of 16-bit values: lane l gives the address of row l % 8 of matrix l / 8 (16 bytes, aligned to 16,
// shared memory), and receives in r[i] two values of matrix i: (l / 4, 2 (l % 4)) and the one to its right.
GPU_FN void ldmatrix_x4(uint32_t (&r)[4], const void* row) {
#if GPU_EMULATED
  emulation::ldmatrix(r, row, false);
#else
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(uint32_t(__cvta_generic_to_shared(row)))
               : "memory");
#endif
}

// The same matrices transposed: values (2 (l % 4), l / 4) and the one below it.
GPU_FN void ldmatrix_x4_transposed(uint32_t (&r)[4], const void* row) {
#if GPU_EMULATED
  emulation::ldmatrix(r, row, true);
#else
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(uint32_t(__cvta_generic_to_shared(row)))
               : "memory");
#endif
}

// d [16,8] += a [16,16] * b [16,8], a and b in bf16, d in float. Fragments as in the PTX manual, m16n8k16:
// a: rows l / 4 and 8 + l / 4 by columns 2 (l % 4) and 8 + 2 (l % 4) (r0 r1: left half, upper then lower; r2 r3: right
// half), b: rows 2 (l % 4), then 8 + 2 (l % 4), column l / 4; d: rows l / 4, then 8 + l / 4, columns 2 (l % 4) and
// next.
GPU_FN void mma_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#if GPU_EMULATED
  emulation::mma_bf16(d, a, b0, b1);
#else
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}

// d [16,8] += a [16,32] * b [32,8], a and b signed bytes, d in int (sums wrap). Fragments as those of mma_bf16, each
// pair of 16-bit values being four bytes: a: rows l / 4 and 8 + l / 4 by columns 4 (l % 4) .. + 3 and 16 + those (r0
// r1: left half, upper then lower; r2 r3: right half), b: rows 4 (l % 4) .. + 3, then 16 + those, column l / 4; d as
// there.
GPU_FN void mma_s8(int (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#if GPU_EMULATED
  emulation::mma_s8(d, a, b0, b1);
#else
  asm volatile(
      "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#endif
}

// The same of the left half of a, whose fragment is a0 a1, and the upper half of b: d [16,8] += a [16,16] * b [16,8].
GPU_FN void mma_s8_k16(int (&d)[4], uint32_t a0, uint32_t a1, uint32_t b) {
#if GPU_EMULATED
  emulation::mma_s8_k16(d, a0, a1, b);
#else
  asm volatile("mma.sync.aligned.m16n8k16.row.col.s32.s8.s8.s32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
               : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])
               : "r"(a0), "r"(a1), "r"(b));
#endif
}

// The same with d = a * b.
GPU_FN void mma_bf16_anew(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#if GPU_EMULATED
  d[0] = d[1] = d[2] = d[3] = 0;
  emulation::mma_bf16(d, a, b0, b1);
#else
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%10, %10, %10, %10};"
      : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(0.0f));
#endif
}

// ---- Integers

// c + the sum of four products of signed bytes.
GPU_FN int dp4a(uint32_t a, uint32_t b, int c) {
#if GPU_EMULATED
  return emulation::dp4a(a, b, c);
#else
  int d;
  asm("dp4a.s32.s32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
#endif
}

// Byte i of the result is byte (selector >> 4 i) & 7 of the eight bytes b:a (a below); bit 3 of a nibble must be 0.
GPU_FN uint32_t byte_permute(uint32_t a, uint32_t b, uint32_t selector) {
#if GPU_EMULATED
  return emulation::byte_permute(a, b, selector);
#else
  uint32_t d;
  asm("prmt.b32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(selector));
  return d;
#endif
}

// 32 of the 64 bits high:low, from bit `shift` % 32 on.
GPU_FN uint32_t funnel_shift(uint32_t low, uint32_t high, uint32_t shift) {
#if GPU_EMULATED
  return emulation::funnel_shift(low, high, shift);
#else
  uint32_t d;
  asm("shf.r.wrap.b32 %0, %1, %2, %3;" : "=r"(d) : "r"(low), "r"(high), "r"(shift));
  return d;
#endif
}

// Rounds to nearest, ties to even; NaN gives 0, and values out of range give the nearest int.
GPU_FN int round_to_int(float x) {
#if GPU_EMULATED
  return emulation::round_to_int(x);
#else
  int d;
  asm("cvt.rni.s32.f32 %0, %1;" : "=r"(d) : "f"(x));
  return d;
#endif
}

// Per byte a - b, modulo 256. The top bits are computed apart, so that no byte borrows from its neighbour.
GPU_FN uint32_t subtract_bytes(uint32_t a, uint32_t b) {
  return ((a | 0x80808080u) - (b & 0x7f7f7f7fu)) ^ ((a ^ ~b) & 0x80808080u);
}

// ---- Floats

GPU_FN float half_to_float(uint16_t h) {
#if GPU_EMULATED
  return fp16_to_float(h);
#else
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(h));
  return f;
#endif
}

GPU_FN float bf16_bits_to_float(uint16_t b) {
  return float_from_bits(uint32_t(b) << 16);
}

// bf16(low) in the lower half, bf16(high) in the upper, rounded to nearest even.
GPU_FN uint32_t pack_bf16(float low, float high) {
#if GPU_EMULATED
  return emulation::pack_bf16(low, high);
#else
  uint32_t d;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(d) : "f"(high), "f"(low));
  return d;
#endif
}

// a * b + c of two bf16 each, rounded once to nearest even.
GPU_FN uint32_t fma_bf16x2(uint32_t a, uint32_t b, uint32_t c) {
#if GPU_EMULATED
  return emulation::fma_bf16x2(a, b, c);
#else
  uint32_t d;
  asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
  return d;
#endif
}

// 2^x to about 2 units of the last place; 2^-infinity is 0.
GPU_FN float exp2_fast(float x) {
#if GPU_EMULATED
  return emulation::exp2_fast(x);
#else
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#endif
}

GPU_FN float exp_fast(float x) {
  return exp2_fast(x * 1.4426950408889634f);
}

// Requests that about 64 bytes around an address be brought into L2. Computes nothing.
GPU_FN void prefetch_to_l2([[maybe_unused]] const void* p) {
#if !GPU_EMULATED
  asm volatile("prefetch.global.L2 [%0];" ::"l"(p));
#endif
}

// ---- A warp together

// The sum and the largest, of floats or ints, over each n neighbouring lanes (a power of two): all of them get it.
// Values of lanes n / 2 apart meet first. The emulation, for which an exchange between lanes is dear, needs one instead
// of five.
template <int n = 32, class T>
GPU_FN T warp_sum(T v) {
#if GPU_EMULATED
  return emulation::warp_sum(v, n);
#else
  GPU_UNROLL
  for (int offset = n / 2; offset > 0; offset /= 2) v += __shfl_xor_sync(kAllLanes, v, offset);
  return v;
#endif
}

GPU_FN float larger(float a, float b) {
  return fmaxf(a, b);
}
GPU_FN int larger(int a, int b) {
  return a > b ? a : b;
}

template <int n = 32, class T>
GPU_FN T warp_max(T v) {
#if GPU_EMULATED
  return emulation::warp_max(v, n);
#else
  GPU_UNROLL
  for (int offset = n / 2; offset > 0; offset /= 2) v = larger(v, __shfl_xor_sync(kAllLanes, v, offset));
  return v;
#endif
}

GPU_FN int lane_of_thread() {
  return int(threadIdx.x % 32);
}

GPU_FN int warp_of_thread() {
  return int(threadIdx.x / 32);
}

// x itself, of which the compiler knows nothing: what follows from it is computed where it is used, and takes no
// registers from one turn of a loop to the next.
GPU_FN int computed_anew(int x) {
#if !GPU_EMULATED
  asm volatile("" : "+r"(x));
#endif
  return x;
}

}  // namespace hearth::gpu
