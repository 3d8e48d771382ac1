// Unit<Block>: what a lane of the vector kernels takes at a time, from a row's bytes in shared memory.
//
// For integer formats 32 weights as signed bytes and scales, for dp4a: two groups that share bytes, so that each byte
// is read once. For float formats 8 neighbouring floats. What the bits mean is in decode.cuh, but for Q3_K's, which
// take fewer instructions when a unit is decoded at once (load_q3_k).
#pragma once

#include "kernels/cuda/matmul/decode_iqk.cuh"

namespace hearth::gpu {

// 32 weights, in two halves of 16 in which they are consecutive: weight 16 h + i of the unit is
//   scale[h] * q - min[h]   or, where the format has an offset instead,   scale[h] * (q - offset(h)),
// q being byte i % 4 of q[4 h + i / 4], signed.
struct ByteUnit {
  uint32_t q[8];
  float scale[2], min[2];
};

// 8 consecutive weights: scale * w.
struct FloatUnit {
  float w[8];
  float scale;
};

// Like load_words, in fewer instructions. Where kAlign is below 4, up to 3 bytes before p and 4 bytes after the words
// are read too, so p must be in memory that a kernel staged, not in a file's.
template <int kAlign, int n>
GPU_FN void load_staged(const std::byte* p, uint32_t (&words)[n]) {
  if constexpr (kAlign >= 4) {
    load_words<kAlign>(p, words);
  } else {
    const size_t odd = reinterpret_cast<size_t>(p) & (kAlign == 2 ? 2 : 3);
    const auto* aligned = reinterpret_cast<const uint32_t*>(p - odd);
    const uint32_t selector = kAlign == 2 ? (odd ? 0x5432 : 0x3210) : 0x3210 + 0x1111 * uint32_t(odd);
    uint32_t low = aligned[0];
    GPU_UNROLL
    for (int i = 0; i < n; ++i) {
      const uint32_t high = aligned[i + 1];
      words[i] = byte_permute(low, high, selector);
      low = high;
    }
  }
}

// load_staged<2> of 16 bytes in pairs of words: for Q6_K's low bits, 16 bytes of each lane side by side in two blocks,
// which as words lie in the same quarter of the banks. Pairs are served for half a warp at a time, and lie in half of
// the banks. Up to 6 bytes before p and 8 after the words are read too.
GPU_FN void load_staged_pairs(const std::byte* p, uint32_t (&words)[4]) {
  const size_t odd = reinterpret_cast<size_t>(p) & 6;
  const auto* aligned = reinterpret_cast<const uint2*>(p - odd);
  const uint2 a = aligned[0], b = aligned[1], c = aligned[2];
  const bool second = odd >= 4;
  const uint32_t selector = odd & 2 ? 0x5432 : 0x3210;
  const uint32_t from[5] = {second ? a.y : a.x, second ? b.x : a.y, second ? b.y : b.x, second ? c.x : b.y,
                            second ? c.y : c.x};
  GPU_UNROLL
  for (int i = 0; i < 4; ++i) words[i] = byte_permute(from[i], from[i + 1], selector);
}

// Unit u of a block of Q3_K. Blocks start in the middle of a word as often as not: the shift that gets 32 bits out of
// two words brings them to their places, too. Levels of the second half stay two bits higher, so that they count four
// times. Up to 2 bytes before the block are read.
//
//   a byte of low   7   4 3   2 1   0    of the 16 bytes with the unit's pair of quarters
//                  [     | h=1 | h=0 ]
//   a byte of high  7   2   1     0      bit 2 of their levels
//                  [     | h=1 | h=0 ]
GPU_FN void load_q3_k(const std::byte* block, unsigned u, ByteUnit& unit) {
  using B = BlockQ3_K;
  const unsigned n = u / 4, p = u / 2 % 2, s = u % 2;  // half of the block, pair of quarters, first or last 16 bytes
  // Bits before the block in a word are 0 or 16, modulo 32; at most 14 are added.
  const unsigned address = unsigned(reinterpret_cast<size_t>(block)), bits = 8 * address;
  const std::byte *words = block - (address & 2), *sixteen = words + 16 * s;
  uint32_t high_words[5], low_words[5], of_low[2], of_high[2];
  load_words<4>(sixteen + offsetof(B, hmask), high_words);
  load_words<4>(sixteen + 32 * n + offsetof(B, qs), low_words);
  load_words<4>(words + 4 * p + offsetof(B, scales), of_low);
  load_words<4>(words + offsetof(B, scales) + 8, of_high);
  static_assert(offsetof(B, d) == offsetof(B, scales) + 12);
  GPU_UNROLL
  for (int i = 0; i < 4; ++i) {
    const uint32_t low = funnel_shift(low_words[i], low_words[i + 1], bits + 4 * p);
    const uint32_t high = funnel_shift(high_words[i], high_words[i + 1], bits + 4 * n + 2 * p);
    unit.q[i] = (low & 0x03030303u) | (high << 2 & 0x04040404u);
    unit.q[4 + i] = (low & 0x0c0c0c0cu) | (high << 3 & 0x10101010u);
  }
  // Both scales, plus 32, lie two bytes apart. As the last bits of 2^23 a scale counts once, of 2^21 a quarter.
  const uint32_t low = funnel_shift(of_low[0], of_low[1], bits + 8 * s + 4 * n);
  const uint32_t high = funnel_shift(of_high[0], of_high[1], bits + 8 * s + 4 * n + 2 * p);
  const uint32_t scales = (low & 0x000f000fu) | (high << 4 & 0x00300030u);
  const float d = half_to_float(uint16_t(funnel_shift(of_high[1], 0, bits)));
  unit.scale[0] = d * (float_from_bits(byte_permute(scales, 0x4b4a0000u, 0x7440)) - (0x1p23f + 32));
  unit.scale[1] = d * (float_from_bits(byte_permute(scales, 0x4b4a0000u, 0x6442)) - (0x1p21f + 8));
}

// first(u) and first(u) + kDistance: the weights at which the halves of unit u of a block start. load(header, block, u,
// unit): reads the unit, with the header of the block's row.
template <class Block>
struct Unit {
  using B = Bits<Block>;
  static constexpr int kWeights = 32, kDistance = 16 * B::kApart;
  static constexpr Zero kZero = B::kZero;
  GPU_FN static constexpr float offset(int h) {
    return std::is_same_v<Block, BlockQ3_K> && h == 1 ? 4 * B::kOffset : B::kOffset;
  }
  GPU_FN static unsigned group(unsigned u) { return u / B::kApart * (2 * B::kApart) | u % B::kApart; }
  GPU_FN static unsigned first(unsigned u) { return 16 * group(u); }

  GPU_FN static void load(const RowHeader<Block>& header, const std::byte* block, unsigned u, ByteUnit& unit) {
    const unsigned first = group(u);
    if constexpr (B::kCodebook) {
      GPU_UNROLL
      for (int h = 0; h < 2; ++h) {
        B bits;
        read_scales<1>(bits, header, InMemory{block}, first + unsigned(h));
        unit.scale[h] = bits.scale(first + unsigned(h), 0);
        GPU_UNROLL
        for (int j = 0; j < 2; ++j)
          bits.eight(first + unsigned(h), 0, j, unit.q[4 * h + 2 * j], unit.q[4 * h + 2 * j + 1]);
      }
    } else if constexpr (std::is_same_v<Block, BlockQ3_K>) {
      load_q3_k(block, u, unit);
    } else {
      load_levels(header, block, first, unit);
    }
  }

 private:
  GPU_FN static void load_levels(const RowHeader<Block>& header, const std::byte* block, unsigned first,
                                 ByteUnit& unit) {
    constexpr bool kSharedBytes = B::low_at(0) == B::low_at(B::kApart);
    uint32_t low[kSharedBytes ? 4 : 8], high[4] = {};
    if constexpr (std::is_same_v<Block, BlockQ6_K>) {
      load_staged_pairs(block + B::low_at(first), low);
    } else {
      load_staged<B::kAlign>(block + B::low_at(first), low);
    }
    if constexpr (B::kHigh) load_staged<B::kAlign>(block + B::high_at(first), high);
    GPU_UNROLL
    for (int h = 0; h < 2; ++h) {
      const unsigned k = first | unsigned(h * B::kApart);
      B bits;
      read_scales<1>(bits, header, InMemory{block}, k);
      unit.scale[h] = bits.scale(k, 0);
      if constexpr (kZero == Zero::min) unit.min[h] = bits.min(k, 0);
      GPU_UNROLL
      for (int i = 0; i < 4; ++i) unit.q[4 * h + i] = bits.levels(low[kSharedBytes ? i : 4 * h + i], high[i], k, i);
    }
  }
};

// `u` counts from the start of a block; for plain floats `block` is any start that the caller chose. Weights from
// `valid` on are zeros.
template <class Block>
requires(Bits<Block>::kFloats) struct Unit<Block> {
  using B = Bits<Block>;
  static constexpr int kWeights = 8, kWords = 8 / B::kPerWord;
  GPU_FN static unsigned first(unsigned u) { return 8 * u; }

  GPU_FN static void load(const std::byte* block, unsigned u, FloatUnit& unit, int valid) {
    uint32_t words[kWords], nans = 0;
    // (The address is written in both branches: written once before them, it costs F32 11 registers for sm_120, and
    // spills.)
    if (Block::kElems == 1 && reinterpret_cast<size_t>(block) % 16 == 0) {
      load_words<16>(block + B::kAt + 4 * kWords * u, words);
    } else {
      load_staged<B::kAlign>(block + B::kAt + 4 * kWords * u, words);
    }
    GPU_UNROLL
    for (int i = 0; i < kWords; ++i) {
      B::floats(words[i], unit.w + i * B::kPerWord);
      nans |= B::nans_of(words[i]);
    }
    B bits;
    bits.read(InMemory{block});
    unit.scale = bits.scale(nans);
    if (Block::kElems == 1 && valid < 8) {
      GPU_UNROLL
      for (int i = 0; i < 8; ++i) unit.w[i] = i < valid ? unit.w[i] : 0.0f;
    }
  }
};

// Groups k and k + kApart<Block> of 16 weights are the halves of a unit; 0: a float format.
template <class Block>
inline constexpr int kApart = [] {
  if constexpr (Bits<Block>::kFloats) {
    return 0;
  } else {
    return Bits<Block>::kApart;
  }
}();

}  // namespace hearth::gpu
