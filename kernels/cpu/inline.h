// Inlining and unrolling that keep the operands of small functions in registers. (Not with AddressSanitizer: its checks
// in so much inlined code take the compiler minutes.)
#pragma once

#ifdef __SANITIZE_ADDRESS__
#define HEARTH_INLINE inline
#define HEARTH_INLINE_LAMBDA
#else
#define HEARTH_INLINE [[gnu::always_inline]] inline
#define HEARTH_INLINE_LAMBDA __attribute__((always_inline))
#endif
#define HEARTH_UNROLL _Pragma("GCC unroll 16")
