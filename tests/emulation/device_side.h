// What a kernel calls while it runs: its place in the grid, barriers, warp operations, shared memory, atomics, under
// CUDA's names, and the emulated branches of kernels/cuda/kernel.h in hearth::emulation. Included by cuda_runtime.h.
#pragma once

#include <algorithm>
#include <bit>
#include <functional>

#include "tests/emulation/instructions.h"

namespace hearth::emulation {

// A line of the kernel, for messages. (std::source_location is not in every compiler that we build with.)
struct Where {
  const char* file = "";
  int line = 0;
  static constexpr Where current(const char* file = __builtin_FILE(), int line = __builtin_LINE()) {
    return {file, line};
  }
};

// Queues body(), run by every thread of the grid, on a stream; `name` is what failures call the kernel. `early`: it is
// held to what a kernel owes that begins before earlier launches are complete (kernel.h, launch_early), though here it
// runs after them.
cudaError_t enqueue_launch(const void* kernel, dim3 grid, dim3 block, size_t shared_bytes, cudaStream_t stream,
                           std::function<void()> body, const char* name, bool early = false);

// Where the running thread is. Means something inside a kernel only.
struct Place {
  uint3 thread{}, block{};
  dim3 block_dim, grid_dim;
};
extern constinit thread_local Place place;

void wait_for_earlier();
void block_barrier(Where where);
int block_count(bool predicate, Where where);  // of the threads that live, at a barrier
void warp_barrier(uint32_t lanes, Where where);
// Four or eight bytes from lane `source` of the warp; `lanes` all call this.
uint64_t shuffle(uint32_t lanes, uint64_t value, int source, Where where);
// What so many shuffles give as kernels need to add, or to find the largest of, the values of each n neighbouring lanes
// of the warp, n = 2, 4, 8, 16, 32: those of lanes n / 2 apart are taken together first.
float warp_sum(float value, int n, Where where = Where::current());
int warp_sum(int value, int n, Where where = Where::current());
float warp_max(float value, int n, Where where = Where::current());
int warp_max(int value, int n, Where where = Where::current());
// Bit l: lane l's predicate.
uint32_t ballot(uint32_t lanes, bool predicate, Where where);
uint32_t active_lanes();

// Memory of the block, made by the first thread that asks: the bytes of one array, told apart by `key`.
void* shared_memory(const void* key, size_t bytes, size_t alignment);
void* dynamic_shared();
template <class Key>
inline constexpr char shared_key = 0;
template <class T, size_t n, class Key>
inline __attribute__((always_inline)) T (&shared_array())[n] {
  return *static_cast<T(*)[n]>(
      shared_memory(&shared_key<Key>, sizeof(T[n]), alignof(T) > 16 ? alignof(T) : size_t(16)));
}

void cp_async(void* shared, const void* global, size_t bytes, bool valid, Where where = Where::current());
// The first n of 16 bytes; the others become zeros.
void cp_async_first(void* shared, const void* global, size_t n, Where where = Where::current());
void cp_async_commit();
void cp_async_wait(int newest_groups);
void ldmatrix(uint32_t (&r)[4], const void* row, bool transposed, Where where = Where::current());
void mma_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, Where where = Where::current());
void mma_s8(int (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, Where where = Where::current());
void mma_s8_k16(int (&d)[4], uint32_t a0, uint32_t a1, uint32_t b, Where where = Where::current());

// Relaxed, on any memory; the value before. `kind` as named.
enum class Atomic { add, minimum, maximum, bit_or, bit_and, exchange };
uint32_t atomic(Atomic kind, void* p, uint32_t operand, bool is_signed);
uint64_t atomic(Atomic kind, void* p, uint64_t operand);
uint32_t atomic_compare_exchange(void* p, uint32_t expected, uint32_t desired);

template <class T>
uint64_t to_bits(T value) {
  static_assert(std::is_trivially_copyable_v<T> && (sizeof(T) == 4 || sizeof(T) == 8), "not a type that lanes swap");
  uint64_t bits = 0;
  std::memcpy(&bits, &value, sizeof value);
  return bits;
}
template <class T>
T from_bits(uint64_t bits) {
  T value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

inline int lane() {
  return int((place.thread.x + place.block_dim.x * (place.thread.y + place.block_dim.y * place.thread.z)) % 32);
}

}  // namespace hearth::emulation

#define threadIdx (::hearth::emulation::place.thread)
#define blockIdx (::hearth::emulation::place.block)
#define blockDim (::hearth::emulation::place.block_dim)
#define gridDim (::hearth::emulation::place.grid_dim)
inline constexpr int warpSize = 32;

inline void __syncthreads(hearth::emulation::Where where = hearth::emulation::Where::current()) {
  hearth::emulation::block_barrier(where);
}
inline int __syncthreads_count(int predicate, hearth::emulation::Where where = hearth::emulation::Where::current()) {
  return hearth::emulation::block_count(predicate != 0, where);
}
inline void __syncwarp(unsigned lanes = 0xffffffffu,
                       hearth::emulation::Where where = hearth::emulation::Where::current()) {
  hearth::emulation::warp_barrier(lanes, where);
}

// Shuffles: `width` (a power of two) cuts the warp into parts that do not see each other.
template <class T>
T __shfl_sync(unsigned lanes, T value, int source, int width = 32,
              hearth::emulation::Where where = hearth::emulation::Where::current()) {
  const int first = hearth::emulation::lane() & ~(width - 1);
  return hearth::emulation::from_bits<T>(
      hearth::emulation::shuffle(lanes, hearth::emulation::to_bits(value), first + (source & (width - 1)), where));
}
template <class T>
T __shfl_xor_sync(unsigned lanes, T value, int lane_mask, int width = 32,
                  hearth::emulation::Where where = hearth::emulation::Where::current()) {
  const int lane = hearth::emulation::lane(), source = lane ^ lane_mask;
  return hearth::emulation::from_bits<T>(hearth::emulation::shuffle(
      lanes, hearth::emulation::to_bits(value), source < (lane & ~(width - 1)) + width ? source : lane, where));
}
template <class T>
T __shfl_down_sync(unsigned lanes, T value, unsigned delta, int width = 32,
                   hearth::emulation::Where where = hearth::emulation::Where::current()) {
  const int lane = hearth::emulation::lane(), source = lane + int(delta);
  return hearth::emulation::from_bits<T>(hearth::emulation::shuffle(
      lanes, hearth::emulation::to_bits(value), source < (lane & ~(width - 1)) + width ? source : lane, where));
}
template <class T>
T __shfl_up_sync(unsigned lanes, T value, unsigned delta, int width = 32,
                 hearth::emulation::Where where = hearth::emulation::Where::current()) {
  const int lane = hearth::emulation::lane(), source = lane - int(delta);
  return hearth::emulation::from_bits<T>(hearth::emulation::shuffle(
      lanes, hearth::emulation::to_bits(value), source >= (lane & ~(width - 1)) ? source : lane, where));
}

inline unsigned __ballot_sync(unsigned lanes, int predicate,
                              hearth::emulation::Where where = hearth::emulation::Where::current()) {
  return hearth::emulation::ballot(lanes, predicate != 0, where);
}
inline int __any_sync(unsigned lanes, int predicate,
                      hearth::emulation::Where where = hearth::emulation::Where::current()) {
  return hearth::emulation::ballot(lanes, predicate != 0, where) != 0;
}
inline int __all_sync(unsigned lanes, int predicate,
                      hearth::emulation::Where where = hearth::emulation::Where::current()) {
  return hearth::emulation::ballot(lanes, predicate == 0, where) == 0;
}
inline unsigned __activemask() {
  return hearth::emulation::active_lanes();
}

// Blocks of one grid run in any order and see each other's atomics alone, so fences have nothing to do.
inline void __threadfence() {}
inline void __threadfence_block() {}

inline int __popc(unsigned x) {
  return std::popcount(x);
}
inline int __popcll(unsigned long long x) {
  return std::popcount(x);
}
inline int __clz(int x) {
  return std::countl_zero(unsigned(x));
}
inline int __ffs(int x) {
  return x ? std::countr_zero(unsigned(x)) + 1 : 0;
}
inline unsigned __brev(unsigned x) {
  unsigned reversed = 0;
  for (int i = 0; i < 32; i++) reversed |= (x >> i & 1) << (31 - i);
  return reversed;
}
inline int __float_as_int(float x) {
  return std::bit_cast<int>(x);
}
inline unsigned __float_as_uint(float x) {
  return std::bit_cast<unsigned>(x);
}
inline float __int_as_float(int x) {
  return std::bit_cast<float>(x);
}
inline float __uint_as_float(unsigned x) {
  return std::bit_cast<float>(x);
}
inline float rsqrtf(float x) {
  return 1.0f / std::sqrt(x);
}
inline float __fdividef(float x, float y) {
  return x / y;
}
inline int __float2int_rn(float x) {
  return int(std::nearbyint(x));
}
template <class T>
T __ldg(const T* p) {
  return *p;
}
using std::max;
using std::min;

inline int atomicAdd(int* p, int x) {
  return int(hearth::emulation::atomic(hearth::emulation::Atomic::add, p, uint32_t(x), true));
}
inline unsigned atomicAdd(unsigned* p, unsigned x) {
  return hearth::emulation::atomic(hearth::emulation::Atomic::add, p, x, false);
}
inline unsigned long long atomicAdd(unsigned long long* p, unsigned long long x) {
  return hearth::emulation::atomic(hearth::emulation::Atomic::add, p, uint64_t(x));
}
inline int atomicMin(int* p, int x) {
  return int(hearth::emulation::atomic(hearth::emulation::Atomic::minimum, p, uint32_t(x), true));
}
inline unsigned atomicMin(unsigned* p, unsigned x) {
  return hearth::emulation::atomic(hearth::emulation::Atomic::minimum, p, x, false);
}
inline int atomicMax(int* p, int x) {
  return int(hearth::emulation::atomic(hearth::emulation::Atomic::maximum, p, uint32_t(x), true));
}
inline unsigned atomicMax(unsigned* p, unsigned x) {
  return hearth::emulation::atomic(hearth::emulation::Atomic::maximum, p, x, false);
}
inline unsigned long long atomicMax(unsigned long long* p, unsigned long long x) {
  return hearth::emulation::atomic(hearth::emulation::Atomic::maximum, p, uint64_t(x));
}
inline unsigned atomicOr(unsigned* p, unsigned x) {
  return hearth::emulation::atomic(hearth::emulation::Atomic::bit_or, p, x, false);
}
inline unsigned atomicAnd(unsigned* p, unsigned x) {
  return hearth::emulation::atomic(hearth::emulation::Atomic::bit_and, p, x, false);
}
inline int atomicExch(int* p, int x) {
  return int(hearth::emulation::atomic(hearth::emulation::Atomic::exchange, p, uint32_t(x), true));
}
inline unsigned atomicExch(unsigned* p, unsigned x) {
  return hearth::emulation::atomic(hearth::emulation::Atomic::exchange, p, x, false);
}
inline unsigned atomicCAS(unsigned* p, unsigned expected, unsigned desired) {
  return hearth::emulation::atomic_compare_exchange(p, expected, desired);
}
