// One pure function per GPU instruction that kernels/cuda/kernel.h wraps: what it computes, in plain C++, without any
// state. The emulation calls these; the conformance tests compare the GPU's own instructions with them.
// Instructions of a whole warp take arrays over its 32 lanes. Sources: the PTX manual, by the names given.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "quant/fp.h"

namespace hearth::instructions {

// dp4a.s32.s32: c + the sum of four products of signed bytes.
inline int32_t dp4a(uint32_t a, uint32_t b, int32_t c) {
  uint32_t sum = uint32_t(c);  // wraps as the hardware does
  for (int i = 0; i < 32; i += 8) sum += uint32_t(int32_t(int8_t(a >> i)) * int32_t(int8_t(b >> i)));
  return int32_t(sum);
}

// prmt.b32, default mode: byte i of the result is byte (selector >> 4 i) & 7 of b:a; bit 3 of a nibble asks for eight
// copies of that byte's top bit instead.
inline uint32_t byte_permute(uint32_t a, uint32_t b, uint32_t selector) {
  const uint64_t bytes = uint64_t(b) << 32 | a;
  uint32_t result = 0;
  for (int i = 0; i < 4; i++) {
    const uint32_t nibble = selector >> (4 * i) & 15;
    uint32_t byte = uint32_t(bytes >> (8 * (nibble & 7))) & 0xff;
    if (nibble & 8) byte = byte & 0x80 ? 0xff : 0;
    result |= byte << (8 * i);
  }
  return result;
}

// shf.r.wrap.b32
inline uint32_t funnel_shift(uint32_t low, uint32_t high, uint32_t shift) {
  return uint32_t((uint64_t(high) << 32 | low) >> (shift & 31));
}

// cvt.rni.s32.f32: to the nearest, ties to even; NaN gives 0, what is too large the largest.
inline int32_t round_to_int(float x) {
  if (x != x) return 0;
  if (x >= 0x1p31f) return INT32_MAX;
  if (x < -0x1p31f) return INT32_MIN;
  return int32_t(std::nearbyint(x));
}

// cvt.rn.bf16x2.f32: every NaN becomes 0x7fff.
inline uint32_t pack_bf16(float low, float high) {
  const uint32_t l = low != low ? 0x7fffu : float_to_bf16(low), h = high != high ? 0x7fffu : float_to_bf16(high);
  return l | h << 16;
}

// fma.rn.bf16x2: every NaN becomes 0x7fff. Double holds the sum but for what is far below a bf16's last place; on the
// way through float that and the rest are kept as an odd last bit, so that nothing is rounded twice.
inline uint32_t fma_bf16x2(uint32_t a, uint32_t b, uint32_t c) {
  uint32_t result = 0;
  for (int i = 0; i < 32; i += 16) {
    const auto value = [i](uint32_t pair) { return double(bf16_to_float(uint16_t(pair >> i))); };
    const double exact = std::fma(value(a), value(b), value(c));
    float near = float(exact);
    if (double(near) != exact && exact == exact) {
      uint32_t bits = float_bits(near);
      if (std::fabs(double(near)) > std::fabs(exact)) --bits;
      near = float_from_bits(bits | 1);
    }
    result |= uint32_t(near != near ? 0x7fffu : float_to_bf16(near)) << i;
  }
  return result;
}

// ex2.approx.ftz.f32, to the last place of float where the hardware is within two. Subnormals are 0, in and out.
inline float exp2_fast(float x) {
  if (std::fabs(x) < 0x1p-126f) return 1.0f;
  const float y = std::exp2(x);
  return y < 0x1p-126f ? 0.0f : y;
}

// ldmatrix.sync.aligned.m8n8.x4[.trans].shared.b16: rows[8 i + j] is row j of matrix i, eight 16-bit values.
inline void ldmatrix_x4(const void* const (&rows)[32], bool transposed, uint32_t (&r)[32][4]) {
  for (int matrix = 0; matrix < 4; matrix++) {
    uint16_t m[8][8];
    for (int j = 0; j < 8; j++) std::memcpy(m[j], rows[8 * matrix + j], 16);
    for (int lane = 0; lane < 32; lane++) {
      const int i = lane / 4, j = 2 * (lane % 4);
      r[lane][matrix] = transposed ? m[j][i] | uint32_t(m[j + 1][i]) << 16 : m[i][j] | uint32_t(m[i][j + 1]) << 16;
    }
  }
}

// How a tensor core adds products: one after the other, each sum rounded, which none does; or as Hopper's and Ampere's
// do, as far as measurements of them tell: 16, or twice 8, products and the sum so far are aligned to the largest of
// them, cut off to 25 or 24 bits, added exactly, and cut off again.
enum class TensorCore { in_order, hopper, ampere };

inline float cut_off_sum(float start, const float* products, int n, int bits) {
  // Magnitudes have the order of their bits.
  const auto magnitude = [](float x) { return std::bit_cast<uint32_t>(x) & 0x7fffffffu; };
  uint32_t largest = magnitude(start);
  for (int k = 0; k < n; k++) largest = std::max(largest, magnitude(products[k]));
  constexpr uint32_t kInfinity = 0x7f800000u;
  if (largest >= kInfinity || largest == 0) {
    for (int k = 0; k < n; k++) start += products[k];
    return start;
  }
  int exponent = int(largest >> 23) - 126;
  if (largest >> 23 == 0) std::frexp(std::bit_cast<float>(largest), &exponent);
  const auto units_of_one = std::bit_cast<double>(uint64_t(1023 + bits - exponent) << 52);
  const auto units = [&](float x) { return int32_t(double(x) * units_of_one); };  // cut off; below 2^25
  int64_t all = units(start);
  for (int k = 0; k < n; k++) all += units(products[k]);
  const double sum = double(all) / units_of_one;
  const float rounded = float(sum);
  return std::fabs(double(rounded)) > std::fabs(sum) ? std::nextafter(rounded, 0.0f) : rounded;
}

// mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32: d [16,8] += a [16,16] * b [16,8]. Products are exact.
inline void mma_m16n8k16_bf16(const uint32_t (&a)[32][4], const uint32_t (&b)[32][2], float (&d)[32][4],
                              TensorCore core = TensorCore::in_order) {
  float left[16][16], right[16][8], sum[16][8];
  for (int lane = 0; lane < 32; lane++) {
    const int i = lane / 4, j = 2 * (lane % 4);
    for (int part = 0; part < 4; part++) {
      const int row = i + part % 2 * 8, column = j + part / 2 * 8;
      left[row][column] = bf16_to_float(uint16_t(a[lane][part]));
      left[row][column + 1] = bf16_to_float(uint16_t(a[lane][part] >> 16));
    }
    for (int part = 0; part < 2; part++) {
      right[j + part * 8][i] = bf16_to_float(uint16_t(b[lane][part]));
      right[j + part * 8 + 1][i] = bf16_to_float(uint16_t(b[lane][part] >> 16));
      for (int next = 0; next < 2; next++) sum[i + part * 8][j + next] = d[lane][2 * part + next];
    }
  }
  for (int i = 0; i < 16 && core == TensorCore::in_order; i++) {
    for (int k = 0; k < 16; k++) {
      for (int j = 0; j < 8; j++) sum[i][j] += left[i][k] * right[k][j];
    }
  }
  for (int i = 0; i < 16 && core != TensorCore::in_order; i++) {
    for (int j = 0; j < 8; j++) {
      float products[16];
      for (int k = 0; k < 16; k++) products[k] = left[i][k] * right[k][j];
      if (core == TensorCore::hopper) {
        sum[i][j] = cut_off_sum(sum[i][j], products, 16, 25);
      } else {
        for (int k = 0; k < 16; k += 8) sum[i][j] = cut_off_sum(sum[i][j], products + k, 8, 24);
      }
    }
  }
  for (int lane = 0; lane < 32; lane++) {
    for (int part = 0; part < 4; part++) d[lane][part] = sum[lane / 4 + part / 2 * 8][2 * (lane % 4) + part % 2];
  }
}

// mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32: d [16,8] += a [16,32] * b [32,8], signed bytes; and m16n8k16, which
// has the left half of a and the upper half of b. Sums wrap.
template <int k>
inline void mma_s8(const uint32_t (&a)[32][k / 8], const uint32_t (&b)[32][k / 16], int32_t (&d)[32][4]) {
  static_assert(k == 16 || k == 32);
  int32_t left[16][k], right[8][k];
  const auto byte = [](uint32_t word, int i) { return int32_t(int8_t(word >> 8 * i)); };
  for (int lane = 0; lane < 32; lane++) {
    const int i = lane / 4, j = 4 * (lane % 4);
    for (int at = 0; at < 4; at++) {
      for (int part = 0; part < k / 8; part++) left[i + part % 2 * 8][j + part / 2 * 16 + at] = byte(a[lane][part], at);
      for (int part = 0; part < k / 16; part++) right[i][j + part * 16 + at] = byte(b[lane][part], at);
    }
  }
  for (int lane = 0; lane < 32; lane++) {
    for (int part = 0; part < 4; part++) {
      const int row = lane / 4 + part / 2 * 8, column = 2 * (lane % 4) + part % 2;
      int32_t sum = 0;  // of at most 32 products of 2^14
      for (int n = 0; n < k; n++) sum += left[row][n] * right[column][n];
      d[lane][part] = int32_t(uint32_t(d[lane][part]) + uint32_t(sum));
    }
  }
}

}  // namespace hearth::instructions

namespace hearth::emulation {
using instructions::byte_permute;
using instructions::dp4a;
using instructions::exp2_fast;
using instructions::fma_bf16x2;
using instructions::funnel_shift;
using instructions::pack_bf16;
using instructions::round_to_int;
}  // namespace hearth::emulation
