#include "tests/emulation/fiber.h"

#include <pthread.h>
#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

#if HEARTH_EMULATION_ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if defined(__x86_64__)
// void hearth_emulation_switch(void** from, void* to): what the calling convention keeps goes to the old stack, and
// comes back from the new one. ucontext would ask the kernel for the signal mask each time: 117 ns instead of 8.
asm(R"(
.text
.globl hearth_emulation_switch
.type hearth_emulation_switch,@function
hearth_emulation_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size hearth_emulation_switch, .-hearth_emulation_switch
)");
extern "C" void hearth_emulation_switch(void** from, void* to);
#endif

namespace hearth::emulation {

namespace {

constexpr size_t kGuard = 4096, kStack = HEARTH_EMULATION_ASAN ? 256 * 1024 : 64 * 1024;  // kernels use 4 to 6 KB

}  // namespace

Fiber::Fiber(void (*entry)(), unsigned number) : entry_(entry) {
  void* const p =
      mmap(nullptr, kGuard + kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED || mprotect(p, kGuard, PROT_NONE)) {
    std::fprintf(stderr, "CUDA emulation: no memory for the stack of a thread\n");
    std::abort();
  }
  mapping_ = static_cast<char*>(p);
  stack_ = mapping_ + kGuard;
  bytes_ = kStack - number % 16 * 256;
  reset();
}

Fiber::~Fiber() {
  if (!mapping_) return;
#if HEARTH_EMULATION_ASAN
  __asan_unpoison_memory_region(stack_, bytes_);  // or who is given these addresses next would find them poisoned
#endif
  munmap(mapping_, kGuard + kStack);
}

void Fiber::reset() {
  fake_stack_ = nullptr;
  if (!mapping_) {  // whose stack it is may have changed
    stack_ = nullptr;
    return;
  }
#if HEARTH_EMULATION_ASAN
  __asan_unpoison_memory_region(stack_, bytes_);
#endif
#if defined(__x86_64__)
  void** top = reinterpret_cast<void**>(reinterpret_cast<uintptr_t>(stack_ + bytes_) & ~uintptr_t(15));
  *--top = nullptr;  // entry's return address: ends stack traces, and aligns as a call would
  *--top = reinterpret_cast<void*>(entry_);
  for (int i = 0; i < 6; i++) *--top = nullptr;
  top_ = top;
#else
  getcontext(&context_);
  context_.uc_stack.ss_sp = stack_;
  context_.uc_stack.ss_size = bytes_;
  context_.uc_link = nullptr;
  makecontext(&context_, entry_, 0);
#endif
}

void Fiber::switch_to(Fiber& next) {
#if HEARTH_EMULATION_ASAN
  if (!next.stack_) {  // an OS thread's own stack
    pthread_attr_t attributes;
    void* low = nullptr;
    pthread_getattr_np(pthread_self(), &attributes);
    pthread_attr_getstack(&attributes, &low, &next.bytes_);
    pthread_attr_destroy(&attributes);
    next.stack_ = static_cast<char*>(low);
  }
  __sanitizer_start_switch_fiber(&fake_stack_, next.stack_, next.bytes_);
#endif
#if defined(__x86_64__)
  hearth_emulation_switch(&top_, next.top_);
#else
  swapcontext(&context_, &next.context_);
#endif
#if HEARTH_EMULATION_ASAN
  __sanitizer_finish_switch_fiber(fake_stack_, nullptr, nullptr);
#endif
}

void Fiber::arrived() {
#if HEARTH_EMULATION_ASAN
  __sanitizer_finish_switch_fiber(nullptr, nullptr, nullptr);
#endif
}

}  // namespace hearth::emulation
