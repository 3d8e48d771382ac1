// The tools of weight_run.cuh: bytes at any even address into registers, and levels of up to 8 bits into bf16.
//
// Reads are 16 bytes wide, although most blocks are aligned to 2: a thread reads the aligned pieces that its bytes lie
// in and moves them into place in registers, some thirty instructions for 64 weights. Levels become floats by writing
// them into the mantissa of 2^23: a byte permutation, a subtraction and a multiplication each, then one conversion for
// two.
#pragma once

#include "kernels/cuda/decode.cuh"

namespace hearth::gpu {

// ---- Reading

GPU_FN uint32_t load_u16(const void* p) {
  return *static_cast<const uint16_t*>(p);
}

// `bytes` bytes at an address that is a multiple of `alignment` (2 .. 16).
template <int bytes, int alignment>
struct Window {
  static constexpr int kPieces = (bytes + 16 - alignment + 15) / 16;
  uint32_t word[4 * kPieces];
  uint32_t shift;  // bytes before the first

  // Of the bytes only the first `needed` are read (the rest holds anything), and none at or beyond `end`.
  GPU_FN void load(const void* from, const std::byte* end, int needed = bytes) {
    const auto* address = static_cast<const std::byte*>(from);
    shift = alignment == 16 ? 0 : uint32_t(reinterpret_cast<uintptr_t>(address) & 15);
    const std::byte* first = address - shift;
    const int room = end - first < 16 * kPieces ? int(end - first) : 16 * kPieces;
    GPU_UNROLL
    for (int i = 0; i < kPieces; ++i) {
      uint4 piece{};
      if (alignment == 16 || (16 * i < int(shift) + needed && 16 * i + 16 <= room)) {
        piece = *reinterpret_cast<const uint4*>(first + 16 * i);
      }
      word[4 * i] = piece.x, word[4 * i + 1] = piece.y, word[4 * i + 2] = piece.z, word[4 * i + 3] = piece.w;
    }
    if constexpr (alignment < 16) {
      if (room < 16 * kPieces) load_tail(first, end);
    }
  }

  // Moves the bytes to the front of word.
  GPU_FN void align() {
    if constexpr (alignment < 16) {
      GPU_UNROLL
      for (int i = 0; i + 2 < 4 * kPieces; ++i) word[i] = shift & 8 ? word[i + 2] : word[i];
    }
    if constexpr (alignment < 8) {
      GPU_UNROLL
      for (int i = 0; i + 1 < 4 * kPieces; ++i) word[i] = shift & 4 ? word[i + 1] : word[i];
    }
    if constexpr (alignment < 4) {
      const uint32_t bits = (shift & 2) * 8;
      GPU_UNROLL
      for (int i = 0; i + 1 < 4 * kPieces; ++i) {
        word[i] = uint32_t((uint64_t(word[i + 1]) << 32 | word[i]) >> bits);
      }
    }
  }

 private:
  // The piece that the tensor ends in, which can only be read in parts.
  GPU_FN void load_tail(const std::byte* first, const std::byte* end) {
    const int whole = int(end - first) / 16;
    const std::byte* last = first + 16 * whole;
    GPU_UNROLL
    for (int j = 0; j < 4; ++j) {
      uint32_t value = 0;
      if (last + 4 * j + 2 <= end) value = load_u16(last + 4 * j);
      if (last + 4 * j + 4 <= end) value |= load_u16(last + 4 * j + 2) << 16;
      GPU_UNROLL
      for (int i = 0; i < kPieces; ++i) {
        if (i == whole) word[4 * i + j] = value;
      }
    }
  }
};

// ---- Levels to bf16

// Byte i of four, which holds 0 .. 255, minus `zero`.
GPU_FN float level_of(uint32_t bytes, int i, float zero) {
  return float_from_bits(byte_permute(bytes, 0x4b000000u, 0x7440u + uint32_t(i))) - (8388608.0f + zero);
}

// step * (level - zero) - min for the eight levels in the bytes of a, then b.
GPU_FN uint4 pack_levels(uint32_t a, uint32_t b, float zero, float step, float min) {
  float v[8];
  GPU_UNROLL
  for (int i = 0; i < 4; ++i) {
    v[i] = step * level_of(a, i, zero) - min;
    v[4 + i] = step * level_of(b, i, zero) - min;
  }
  return {pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7])};
}
// Without a min: no rounding but bf16's (the compiler need not see that - 0 changes nothing).
GPU_FN uint4 pack_levels(uint32_t a, uint32_t b, float zero, float step) {
  float v[8];
  GPU_UNROLL
  for (int i = 0; i < 4; ++i) {
    v[i] = step * level_of(a, i, zero);
    v[4 + i] = step * level_of(b, i, zero);
  }
  return {pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7])};
}

GPU_FN uint32_t nibbles_of(uint32_t word, int high) {
  return word >> 4 * high & 0x0f0f0f0fu;
}
// Bits 0 .. 3 of `bits` as 0x10 in bytes 0 .. 3: the fifth bits of four levels.
GPU_FN uint32_t spread_fifth_bits(uint32_t bits) {
  return ((bits & 15) * 0x00204081u & 0x01010101u) << 4;
}

// IQ4's levels of the four nibbles in 16 bits, one in each byte, moved up by 128.
GPU_FN uint32_t iq4_levels(uint32_t nibbles) {
  constexpr auto four = [](int first) {
    uint32_t word = 0;
    for (int i = 0; i < 4; ++i) word |= uint32_t(int(iq4_value(first + i)) + 128) << 8 * i;
    return word;
  };
  constexpr uint32_t table[4] = {four(0), four(4), four(8), four(12)};
  const uint32_t low = byte_permute(table[0], table[1], nibbles & 0x7777u);
  const uint32_t high = byte_permute(table[2], table[3], nibbles & 0x7777u);
  return byte_permute(low, high, 0x3210u | (nibbles & 0x8888u) >> 1);
}

// The 16-bit field at byte `at` of a row of words.
GPU_FN float half_at(const uint32_t* words, int at) {
  return half_to_float(uint16_t(words[at / 4] >> at % 4 * 8));
}
// The four bytes at byte `at`, a multiple of 2, known when compiling.
GPU_FN uint32_t word_at(const uint32_t* words, int at) {
  return at % 4 == 0 ? words[at / 4] : words[at / 4] >> 16 | words[at / 4 + 1] << 16;
}
GPU_FN uint32_t byte_at(const uint32_t* words, int at) {
  return words[at / 4] >> at % 4 * 8 & 255;
}

}  // namespace hearth::gpu
