// What code compiled with -fsanitize=thread calls at every access, here for the race check instead of ThreadSanitizer.
// This file itself is compiled without that flag. With HEARTH_DEAF_HOOKS: for programs that check nothing.
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tests/emulation/race_check.h"

using Access = hearth::emulation::RaceCheck::Access;

namespace {

#ifdef HEARTH_DEAF_HOOKS
constexpr bool kChecks = false;
inline void see(const void*, const void*, size_t, Access) {}
inline void see_aligned(const void*, const void*, size_t, Access) {}
#else
constexpr bool kChecks = true;
inline void see(const void* code, const void* p, size_t bytes, Access kind) {
  hearth::emulation::race_access(code, p, bytes, kind);
}
inline void see_aligned(const void* code, const void* p, size_t bytes, Access kind) {
  hearth::emulation::aligned_access(code, p, bytes, kind);
}
#endif

}  // namespace

// NOLINTBEGIN: the names are the compiler's.
extern "C" {

void __tsan_init() {
  hearth::emulation::race_check = kChecks;
}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
void __tsan_vptr_read(void**) {}
void __tsan_vptr_update(void**, void*) {}

#define HOOKS(bytes)                                                   \
  void __tsan_read##bytes(void* p) {                                   \
    see_aligned(__builtin_return_address(0), p, bytes, Access::read);  \
  }                                                                    \
  void __tsan_write##bytes(void* p) {                                  \
    see_aligned(__builtin_return_address(0), p, bytes, Access::write); \
  }                                                                    \
  void __tsan_unaligned_read##bytes(void* p) {                         \
    see(__builtin_return_address(0), p, bytes, Access::read);          \
  }                                                                    \
  void __tsan_unaligned_write##bytes(void* p) {                        \
    see(__builtin_return_address(0), p, bytes, Access::write);         \
  }                                                                    \
  void __tsan_read_write##bytes(void* p) {                             \
    see_aligned(__builtin_return_address(0), p, bytes, Access::read);  \
    see_aligned(__builtin_return_address(0), p, bytes, Access::write); \
  }                                                                    \
  void __tsan_unaligned_read_write##bytes(void* p) {                   \
    see(__builtin_return_address(0), p, bytes, Access::read);          \
    see(__builtin_return_address(0), p, bytes, Access::write);         \
  }
HOOKS(1)
HOOKS(2)
HOOKS(4)
HOOKS(8)
HOOKS(16)

void __tsan_read_range(void* p, size_t bytes) {
  see(__builtin_return_address(0), p, bytes, Access::read);
}
void __tsan_write_range(void* p, size_t bytes) {
  see(__builtin_return_address(0), p, bytes, Access::write);
}
void* __tsan_memcpy(void* to, const void* from, size_t bytes) {
  see(__builtin_return_address(0), from, bytes, Access::read);
  see(__builtin_return_address(0), to, bytes, Access::write);
  return std::memcpy(to, from, bytes);
}
void* __tsan_memmove(void* to, const void* from, size_t bytes) {
  see(__builtin_return_address(0), from, bytes, Access::read);
  see(__builtin_return_address(0), to, bytes, Access::write);
  return std::memmove(to, from, bytes);
}
void* __tsan_memset(void* p, int value, size_t bytes) {
  see(__builtin_return_address(0), p, bytes, Access::write);
  return std::memset(p, value, bytes);
}

// Host code in the same files: guards of statics, counters.
#define ATOMIC_HOOKS(bits)                                                                                \
  uint##bits##_t __tsan_atomic##bits##_load(const volatile uint##bits##_t* p, int) {                      \
    return __atomic_load_n(p, __ATOMIC_SEQ_CST);                                                          \
  }                                                                                                       \
  void __tsan_atomic##bits##_store(volatile uint##bits##_t* p, uint##bits##_t v, int) {                   \
    __atomic_store_n(p, v, __ATOMIC_SEQ_CST);                                                             \
  }                                                                                                       \
  uint##bits##_t __tsan_atomic##bits##_exchange(volatile uint##bits##_t* p, uint##bits##_t v, int) {      \
    return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST);                                                   \
  }                                                                                                       \
  uint##bits##_t __tsan_atomic##bits##_fetch_add(volatile uint##bits##_t* p, uint##bits##_t v, int) {     \
    return __atomic_fetch_add(p, v, __ATOMIC_SEQ_CST);                                                    \
  }                                                                                                       \
  uint##bits##_t __tsan_atomic##bits##_fetch_sub(volatile uint##bits##_t* p, uint##bits##_t v, int) {     \
    return __atomic_fetch_sub(p, v, __ATOMIC_SEQ_CST);                                                    \
  }                                                                                                       \
  uint##bits##_t __tsan_atomic##bits##_fetch_or(volatile uint##bits##_t* p, uint##bits##_t v, int) {      \
    return __atomic_fetch_or(p, v, __ATOMIC_SEQ_CST);                                                     \
  }                                                                                                       \
  uint##bits##_t __tsan_atomic##bits##_fetch_and(volatile uint##bits##_t* p, uint##bits##_t v, int) {     \
    return __atomic_fetch_and(p, v, __ATOMIC_SEQ_CST);                                                    \
  }                                                                                                       \
  int __tsan_atomic##bits##_compare_exchange_strong(volatile uint##bits##_t* p, uint##bits##_t* expected, \
                                                    uint##bits##_t v, int, int) {                         \
    return __atomic_compare_exchange_n(p, expected, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);        \
  }                                                                                                       \
  int __tsan_atomic##bits##_compare_exchange_weak(volatile uint##bits##_t* p, uint##bits##_t* expected,   \
                                                  uint##bits##_t v, int, int) {                           \
    return __atomic_compare_exchange_n(p, expected, v, true, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);         \
  }
ATOMIC_HOOKS(8)
ATOMIC_HOOKS(16)
ATOMIC_HOOKS(32)
ATOMIC_HOOKS(64)

void __tsan_atomic_thread_fence(int) {
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
void __tsan_atomic_signal_fence(int) {}

}  // extern "C"
// NOLINTEND
