// What kernels call, in terms of the running block.
#include <cuda_runtime.h>

#include <string>

#include "tests/emulation/block.h"
#include "tests/emulation/traffic.h"

namespace hearth::emulation {

namespace {

constexpr uint32_t kAllLanes = 0xffffffff;

bool is_aligned(const void* p, size_t bytes) {
  return reinterpret_cast<uintptr_t>(p) % bytes == 0;
}

struct Swap {
  uint64_t value;
  int source;
  uint64_t result;
};

// A lane that is not among those of the call has nothing to give: the value is undefined, here NaN.
void swap(Block&, void* const* posts, uint32_t lanes) {
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    Swap& to = *static_cast<Swap*>(posts[std::countr_zero(rest)]);
    to.result = lanes >> to.source & 1 ? static_cast<const Swap*>(posts[to.source])->value : ~uint64_t(0);
  }
}

struct Sum {
  static float of(float a, float b) { return a + b; }
  static int of(int a, int b) { return int(uint32_t(a) + uint32_t(b)); }
};

struct Largest {
  static float of(float a, float b) { return std::fmax(a, b); }
  static int of(int a, int b) { return std::max(a, b); }
};

// Where a lane has ended, its neighbours' result is undefined, here NaN.
template <class Two, class T, int n>
void reduce(Block&, void* const* posts, uint32_t lanes) {
  for (int first = 0; first < 32; first += n) {
    const uint32_t all = ~0u >> (32 - n), here = lanes >> first & all;
    T values[n] = {from_bits<T>(~uint64_t(0))};
    if (here == all) {
      for (int l = 0; l < n; l++) values[l] = *static_cast<const T*>(posts[first + l]);
      for (int half = n / 2; half > 0; half /= 2) {
        for (int l = 0; l < half; l++) values[l] = Two::of(values[l], values[l + half]);
      }
    }
    for (uint32_t rest = here; rest; rest &= rest - 1) {
      *static_cast<T*>(posts[first + std::countr_zero(rest)]) = values[0];
    }
  }
}

template <class Two, class T>
T reduced(T value, int n, Where where) {
  static constexpr Block::Operation kOperations[] = {reduce<Two, T, 2>, reduce<Two, T, 4>, reduce<Two, T, 8>,
                                                     reduce<Two, T, 16>, reduce<Two, T, 32>};
  Block::current().warp_operation(kAllLanes, &value, kOperations[std::countr_zero(unsigned(n)) - 1], where);
  return value;
}

struct Vote {
  bool predicate;
  uint32_t result;
};

void vote(Block&, void* const* posts, uint32_t lanes) {
  uint32_t result = 0;
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const int lane = std::countr_zero(rest);
    if (static_cast<const Vote*>(posts[lane])->predicate) result |= 1u << lane;
  }
  for (uint32_t rest = lanes; rest; rest &= rest - 1)
    static_cast<Vote*>(posts[std::countr_zero(rest)])->result = result;
}

void synchronize(Block& block, void* const*, uint32_t lanes) {
  if (race_check) block.races.warp_barrier(block.running_thread() / 32, lanes);
}

struct Rows {
  const void* row;
  uint32_t (&r)[4];
};

template <bool transposed>
void load_matrices(Block& block, void* const* posts, uint32_t lanes) {
  if (lanes != kAllLanes) block.fail("ldmatrix, but some lanes of the warp have ended");
  const void* rows[32];
  uint32_t r[32][4];
  for (int lane = 0; lane < 32; lane++) rows[lane] = static_cast<const Rows*>(posts[lane])->row;
  instructions::ldmatrix_x4(rows, transposed, r);
  for (int lane = 0; lane < 32; lane++) std::memcpy(static_cast<Rows*>(posts[lane])->r, r[lane], sizeof r[lane]);
}

struct Product {
  float (&d)[4];
  const uint32_t (&a)[4];
  uint32_t b[2];
};

void multiply(Block& block, void* const* posts, uint32_t lanes) {
  if (lanes != kAllLanes) block.fail("mma, but some lanes of the warp have ended");
  uint32_t a[32][4], b[32][2];
  float d[32][4];
  for (int lane = 0; lane < 32; lane++) {
    const Product& p = *static_cast<const Product*>(posts[lane]);
    std::memcpy(a[lane], p.a, sizeof p.a);
    std::memcpy(b[lane], p.b, sizeof p.b);
    std::memcpy(d[lane], p.d, sizeof p.d);
  }
  instructions::mma_m16n8k16_bf16(a, b, d, settings().tensor_core);
  if (TrafficWatch* const watch = TrafficWatch::current()) watch->multiplied();
  for (int lane = 0; lane < 32; lane++) std::memcpy(static_cast<Product*>(posts[lane])->d, d[lane], sizeof d[lane]);
}

template <int k>
struct ByteProduct {
  int (&d)[4];
  uint32_t a[k / 8], b[k / 16];
};

template <int k>
void multiply_bytes(Block& block, void* const* posts, uint32_t lanes) {
  if (lanes != kAllLanes) block.fail("mma, but some lanes of the warp have ended");
  uint32_t a[32][k / 8], b[32][k / 16];
  int32_t d[32][4];
  for (int lane = 0; lane < 32; lane++) {
    const auto& p = *static_cast<const ByteProduct<k>*>(posts[lane]);
    std::memcpy(a[lane], p.a, sizeof p.a);
    std::memcpy(b[lane], p.b, sizeof p.b);
    std::memcpy(d[lane], p.d, sizeof p.d);
  }
  instructions::mma_s8<k>(a, b, d);
  if (TrafficWatch* const watch = TrafficWatch::current()) watch->multiplied();
  for (int lane = 0; lane < 32; lane++) {
    std::memcpy(static_cast<ByteProduct<k>*>(posts[lane])->d, d[lane], sizeof d[lane]);
  }
}

template <class T>
T atomic_step(Atomic kind, T* p, T operand) {
  if (kind == Atomic::add) return __atomic_fetch_add(p, operand, __ATOMIC_RELAXED);
  if (kind == Atomic::exchange) return __atomic_exchange_n(p, operand, __ATOMIC_RELAXED);
  T before = __atomic_load_n(p, __ATOMIC_RELAXED), after;
  do {
    switch (kind) {
      case Atomic::minimum:
        after = std::min(before, operand);
        break;
      case Atomic::maximum:
        after = std::max(before, operand);
        break;
      case Atomic::bit_or:
        after = T(before | operand);
        break;
      default:
        after = T(before & operand);
        break;
    }
  } while (!__atomic_compare_exchange_n(p, &before, after, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return before;
}

}  // namespace

void wait_for_earlier() {
  Block::current().wait_for_earlier();
}

void block_barrier(Where where) {
  Block::current().barrier(where);
}

int block_count(bool predicate, Where where) {
  return Block::current().count(predicate, where);
}

void warp_barrier(uint32_t lanes, Where where) {
  Block::current().warp_operation(lanes, nullptr, synchronize, where);
}

uint64_t shuffle(uint32_t lanes, uint64_t value, int source, Where where) {
  Swap post{value, source & 31, 0};
  Block::current().warp_operation(lanes, &post, swap, where);
  return post.result;
}

float warp_sum(float value, int n, Where where) {
  return reduced<Sum>(value, n, where);
}

int warp_sum(int value, int n, Where where) {
  return reduced<Sum>(value, n, where);
}

float warp_max(float value, int n, Where where) {
  return reduced<Largest>(value, n, where);
}

int warp_max(int value, int n, Where where) {
  return reduced<Largest>(value, n, where);
}

uint32_t ballot(uint32_t lanes, bool predicate, Where where) {
  Vote post{predicate, 0};
  Block::current().warp_operation(lanes, &post, vote, where);
  return post.result;
}

uint32_t active_lanes() {
  return Block::current().active_lanes();
}

void* shared_memory(const void* key, size_t bytes, size_t alignment) {
  Block& block = Block::current();
  void* const p = block.shared.array(key, bytes, alignment);
  if (!p) block.fail("shared memory: more than 48 KB in arrays, or more than 99 KB in all");
  return p;
}

void* dynamic_shared() {
  return Block::current().shared.dynamic();
}

void cp_async(void* shared, const void* global, size_t bytes, bool valid, Where where) {
  Block& block = Block::current();
  if (!is_aligned(shared, bytes) || (valid && !is_aligned(global, bytes))) block.fail("cp.async: not aligned", where);
  if (!block.shared.contains(shared, bytes)) block.fail("cp.async: to a place outside shared memory", where);
  if (valid && block.shared.contains(global, bytes)) block.fail("cp.async: from shared memory", where);
  if (race_check) race_copy_issued(__builtin_return_address(0), shared, global, bytes, valid ? bytes : 0);
  block.copies().issue(shared, global, bytes, valid ? bytes : 0, settings().eager_copies);
}

void cp_async_first(void* shared, const void* global, size_t n, Where where) {
  Block& block = Block::current();
  if (!is_aligned(shared, 16) || !is_aligned(global, 16)) block.fail("cp.async: not aligned", where);
  if (n > 16) block.fail("cp.async: more than 16 bytes", where);
  if (!block.shared.contains(shared, 16)) block.fail("cp.async: to a place outside shared memory", where);
  if (n > 0 && block.shared.contains(global, n)) block.fail("cp.async: from shared memory", where);
  if (race_check) race_copy_issued(__builtin_return_address(0), shared, global, 16, n);
  block.copies().issue(shared, global, 16, n, settings().eager_copies);
}

void cp_async_commit() {
  Block::current().copies().commit();
}

void cp_async_wait(int newest_groups) {
  Block& block = Block::current();
  if (block.copies().wait(newest_groups)) {
    if (TrafficWatch* const watch = TrafficWatch::current()) watch->waited(block.running_thread());
  }
}

void ldmatrix(uint32_t (&r)[4], const void* row, bool transposed, Where where) {
  Block& block = Block::current();
  if (!is_aligned(row, 16)) block.fail("ldmatrix: a row that is not aligned to 16 bytes", where);
  if (!block.shared.contains(row, 16)) block.fail("ldmatrix: a row outside shared memory", where);
  if (race_check) race_access(__builtin_return_address(0), row, 16, RaceCheck::Access::read, true);
  Rows post{row, r};
  block.warp_operation(kAllLanes, &post, transposed ? load_matrices<true> : load_matrices<false>, where);
}

void mma_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, Where where) {
  Product post{d, a, {b0, b1}};
  Block::current().warp_operation(kAllLanes, &post, multiply, where);
}

void mma_s8(int (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, Where where) {
  ByteProduct<32> post{d, {a[0], a[1], a[2], a[3]}, {b0, b1}};
  Block::current().warp_operation(kAllLanes, &post, multiply_bytes<32>, where);
}

void mma_s8_k16(int (&d)[4], uint32_t a0, uint32_t a1, uint32_t b, Where where) {
  ByteProduct<16> post{d, {a0, a1}, {b}};
  Block::current().warp_operation(kAllLanes, &post, multiply_bytes<16>, where);
}

uint32_t atomic(Atomic kind, void* p, uint32_t operand, bool is_signed) {
  if (race_check) race_access(__builtin_return_address(0), p, 4, RaceCheck::Access::atomic);
  if (is_signed) return uint32_t(atomic_step(kind, static_cast<int32_t*>(p), int32_t(operand)));
  return atomic_step(kind, static_cast<uint32_t*>(p), operand);
}

uint64_t atomic(Atomic kind, void* p, uint64_t operand) {
  if (race_check) race_access(__builtin_return_address(0), p, 8, RaceCheck::Access::atomic);
  return atomic_step(kind, static_cast<uint64_t*>(p), operand);
}

uint32_t atomic_compare_exchange(void* p, uint32_t expected, uint32_t desired) {
  if (race_check) race_access(__builtin_return_address(0), p, 4, RaceCheck::Access::atomic);
  __atomic_compare_exchange_n(static_cast<uint32_t*>(p), &expected, desired, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED);
  return expected;
}

}  // namespace hearth::emulation
