// The small floating-point numbers <-> float: IEEE half (fp16), bfloat16 (bf16) and OCP fp8 e4m3fn (e4m3), as bit
// patterns. Host and device, the same bits everywhere: narrowing rounds to nearest, ties to even; NaN stays NaN.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__F16C__) && !defined(__CUDACC__)
#include <immintrin.h>
#endif

#ifdef __CUDACC__
#define HEARTH_HD __host__ __device__
#else
#define HEARTH_HD
#endif

namespace hearth {

HEARTH_HD inline uint32_t float_bits(float f) {
  uint32_t bits;
  memcpy(&bits, &f, sizeof bits);
  return bits;
}

HEARTH_HD inline float float_from_bits(uint32_t bits) {
  float f;
  memcpy(&f, &bits, sizeof f);
  return f;
}

// fp16: s eeeee mmmmmmmmmm, bias 15; largest 65504, smallest normal 2^-14, subnormals in steps of 2^-24.
HEARTH_HD inline float fp16_to_float(uint16_t h) {
#if defined(__F16C__) && !defined(__CUDACC__)
  return _cvtsh_ss(h);
#else
  const uint32_t sign = uint32_t(h & 0x8000) << 16;
  const uint32_t body = uint32_t(h & 0x7fff) << 13;  // exponent and mantissa in float's places
  if (body >= 0x0f800000) {                          // infinity, or NaN (made quiet, as the hardware does)
    return float_from_bits(sign | 0x70000000 | body | (body > 0x0f800000 ? 0x00400000 : 0));
  }
  if (body < 0x00800000) return float_from_bits(sign | float_bits(float(h & 0x3ff) * 0x1p-24f));
  return float_from_bits(sign | (body + (uint32_t(127 - 15) << 23)));
#endif
}

// 65520 and more become infinity.
HEARTH_HD inline uint16_t float_to_fp16(float f) {
#if defined(__F16C__) && !defined(__CUDACC__)
  return uint16_t(_cvtss_sh(f, 0));  // 0: to nearest even
#else
  const uint32_t bits = float_bits(f), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return uint16_t(sign | 0x7e00 | (magnitude >> 13 & 0x3ff));
  if (magnitude >= float_bits(65520.0f)) return uint16_t(sign | 0x7c00);
  if (magnitude < float_bits(0x1p-14f)) {  // subnormal: the adder rounds, since 0.5 has a last place of 2^-24
    return uint16_t(sign | (float_bits(float_from_bits(magnitude) + 0.5f) - float_bits(0.5f)));
  }
  const uint32_t rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
  return uint16_t(sign | (rounded - (uint32_t(127 - 15) << 23)) >> 13);
#endif
}

// bf16: the high half of a float.
HEARTH_HD inline float bf16_to_float(uint16_t b) {
  return float_from_bits(uint32_t(b) << 16);
}

// Beyond bf16's range (within half a step of float's largest) becomes infinity.
HEARTH_HD inline uint16_t float_to_bf16(float f) {
  const uint32_t bits = float_bits(f);
  if ((bits & 0x7fffffff) > 0x7f800000) return uint16_t(bits >> 16 | 0x40);
  return uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

// e4m3fn: s eeee mmm, bias 7; largest 448, smallest normal 2^-6, subnormals in steps of 2^-9. No infinity; NaN is
// s1111111.
HEARTH_HD inline float e4m3_to_float(uint8_t b) {
  const uint32_t sign = uint32_t(b & 0x80) << 24, body = b & 0x7f;
  if (body == 0x7f) return float_from_bits(sign | 0x7fc00000);
  if (body < 8) return float_from_bits(sign | float_bits(float(body) * 0x1p-9f));
  return float_from_bits(sign | ((body << 20) + (uint32_t(127 - 7) << 23)));
}

// Saturates: everything beyond 448, infinity included, becomes 448.
HEARTH_HD inline uint8_t float_to_e4m3(float f) {
  const uint32_t bits = float_bits(f), sign = bits >> 24 & 0x80, magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return uint8_t(sign | 0x7f);
  if (magnitude >= float_bits(448.0f)) return uint8_t(sign | 0x7e);
  if (magnitude < float_bits(0x1p-6f)) {  // subnormal: 2^14 has a last place of 2^-9
    return uint8_t(sign | (float_bits(float_from_bits(magnitude) + 0x1p14f) - float_bits(0x1p14f)));
  }
  const uint32_t rounded = magnitude + 0x7ffff + (magnitude >> 20 & 1);
  return uint8_t(sign | (rounded - (uint32_t(127 - 7) << 23)) >> 20);
}

}  // namespace hearth
