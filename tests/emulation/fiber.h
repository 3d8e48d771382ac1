// Threads that give way to each other by hand: a stack, and where on it to go on.
#pragma once

#include <cstddef>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

#if defined(__SANITIZE_ADDRESS__)
#define HEARTH_EMULATION_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HEARTH_EMULATION_ASAN 1
#endif
#endif
#ifndef HEARTH_EMULATION_ASAN
#define HEARTH_EMULATION_ASAN 0
#endif

namespace hearth::emulation {

class Fiber {
 public:
  Fiber() = default;  // the stack that the program is on: switched from and back to
  // A new stack, cut from the pool of its OS thread; `entry` must never return. Stacks start at different distances
  // from a page boundary, or the caches would see all of them in the same few places.
  explicit Fiber(void (*entry)(), unsigned number);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Forgets what runs on the stack: the next switch to it starts `entry` anew.
  void reset();
  void switch_to(Fiber& next);
  // What `entry` calls first.
  void arrived();

 private:
  void (*entry_)() = nullptr;
  char* mapping_ = nullptr;
  char* stack_ = nullptr;
  size_t bytes_ = 0;
  void* fake_stack_ = nullptr;  // AddressSanitizer's
#if defined(__x86_64__)
  void* top_ = nullptr;
#else
  ucontext_t context_;
#endif
};

}  // namespace hearth::emulation
