// WeightRun<Block>: 64 neighbouring weights of one row, on their way from the file's blocks to bf16 in shared memory.
//
// In two steps, so that a tile kernel can put its tensor-core work between them: load() reads the bytes into registers
// and waits for nothing; decode() turns them into eight pieces of eight bf16 values, in the order of the row. The
// values are quant/decode.h's, rounded once.
//
// The tools are in weight_window.cuh; here is what each format does with them.
#pragma once

#include "kernels/cuda/weight_window.cuh"

namespace hearth::gpu {

inline constexpr int kRun = 64;

// ---- One run of each format. `end` is the end of the tensor, `run` counts runs in the row, n is how many of the run's
// weights the row has (64, at its end less). store(i, piece) gets the weights 8 i .. 8 i + 7; those from n on are
// zeros.

template <class Block>
struct WeightRun;

// Two blocks of 32 weights, side by side.
template <class Block, int alignment>
struct PairOfBlocks {
  static_assert(Block::kElems == 32);
  static constexpr int kBytes = sizeof(Block);
  Window<2 * kBytes, alignment> bytes;

  GPU_FN void load(const std::byte* row, const std::byte* end, int run, int n) {
    bytes.load(row + size_t(run) * 2 * kBytes, end, n > 32 ? 2 * kBytes : kBytes);
  }

  // piece(at, j): the weights 8 j .. 8 j + 7 of the block that starts at byte `at`.
  template <class Piece, class Store>
  GPU_FN void decode_pieces(int n, Piece piece, Store store) {
    bytes.align();
    GPU_UNROLL
    for (int i = 0; i < 4; ++i) store(i, piece(0, i));
    GPU_UNROLL
    for (int i = 0; i < 4; ++i) store(4 + i, n > 32 ? piece(kBytes, i) : uint4{});
  }
  // The nibbles of piece j, in halves, at byte `qs`.
  GPU_FN void levels(int qs, int j, uint32_t (&q)[2]) const {
    GPU_UNROLL
    for (int i = 0; i < 2; ++i) q[i] = nibbles_of(word_at(bytes.word, qs + j % 2 * 8 + 4 * i), j / 2);
  }
  GPU_FN void fifth_bits(int qh, int j, uint32_t (&q)[2]) const {
    const uint32_t bits = word_at(bytes.word, qh) >> 8 * j;
    q[0] |= spread_fifth_bits(bits);
    q[1] |= spread_fifth_bits(bits >> 4);
  }
};

template <>
struct WeightRun<BlockQ4_0> : PairOfBlocks<BlockQ4_0, 2> {
  template <class Store>
  GPU_FN void decode(int, int n, Store store) {
    decode_pieces(
        n,
        [&](int at, int j) {
          uint32_t q[2];
          levels(at + 2, j, q);
          return pack_levels(q[0], q[1], 8, half_at(bytes.word, at));
        },
        store);
  }
};

template <>
struct WeightRun<BlockQ4_1> : PairOfBlocks<BlockQ4_1, 4> {
  template <class Store>
  GPU_FN void decode(int, int n, Store store) {
    decode_pieces(
        n,
        [&](int at, int j) {
          uint32_t q[2];
          levels(at + 4, j, q);
          return pack_levels(q[0], q[1], 0, half_at(bytes.word, at), -half_at(bytes.word, at + 2));
        },
        store);
  }
};

template <>
struct WeightRun<BlockQ5_0> : PairOfBlocks<BlockQ5_0, 2> {
  template <class Store>
  GPU_FN void decode(int, int n, Store store) {
    decode_pieces(
        n,
        [&](int at, int j) {
          uint32_t q[2];
          levels(at + 6, j, q);
          fifth_bits(at + 2, j, q);
          return pack_levels(q[0], q[1], 16, half_at(bytes.word, at));
        },
        store);
  }
};

template <>
struct WeightRun<BlockQ5_1> : PairOfBlocks<BlockQ5_1, 8> {
  template <class Store>
  GPU_FN void decode(int, int n, Store store) {
    decode_pieces(
        n,
        [&](int at, int j) {
          uint32_t q[2];
          levels(at + 8, j, q);
          fifth_bits(at + 4, j, q);
          return pack_levels(q[0], q[1], 0, half_at(bytes.word, at), -half_at(bytes.word, at + 2));
        },
        store);
  }
};

template <>
struct WeightRun<BlockQ8_0> : PairOfBlocks<BlockQ8_0, 2> {
  template <class Store>
  GPU_FN void decode(int, int n, Store store) {
    decode_pieces(
        n,
        [&](int at, int j) {
          const uint32_t a = word_at(bytes.word, at + 2 + 8 * j), b = word_at(bytes.word, at + 6 + 8 * j);
          return pack_levels(a ^ 0x80808080u, b ^ 0x80808080u, 128, half_at(bytes.word, at));
        },
        store);
  }
};

// Eight of IQ4's levels from the low or the high nibbles of two words.
GPU_FN uint4 pack_iq4(uint32_t a, uint32_t b, int high, float step) {
  const uint32_t q[2] = {nibbles_of(a, high), nibbles_of(b, high)};
  uint32_t level[2];
  GPU_UNROLL
  for (int i = 0; i < 2; ++i) {  // nibbles of four bytes, side by side in 16 bits
    level[i] = iq4_levels(((q[i] | q[i] >> 4) & 0xffu) | ((q[i] >> 8 | q[i] >> 12) & 0xff00u));
  }
  return pack_levels(level[0], level[1], 128, step);
}

template <>
struct WeightRun<BlockIQ4_NL> : PairOfBlocks<BlockIQ4_NL, 2> {
  template <class Store>
  GPU_FN void decode(int, int n, Store store) {
    decode_pieces(
        n,
        [&](int at, int j) {
          const int qs = at + 2 + j % 2 * 8;
          return pack_iq4(word_at(bytes.word, qs), word_at(bytes.word, qs + 4), j / 2, half_at(bytes.word, at));
        },
        store);
  }
};

// ---- 128 weights

template <>
struct WeightRun<BlockF8_E4M3> {
  Window<64, 4> qs;
  float d;

  GPU_FN void load(const std::byte* row, const std::byte* end, int run, int) {
    const auto* block = reinterpret_cast<const BlockF8_E4M3*>(row) + run / 2;
    d = block->d;
    qs.load(block->qs + run % 2 * 64, end);
  }
  // The exponent and mantissa in float's places stand for 2^-120 of the value, subnormals included.
  GPU_FN float value(int i) const {
    const uint32_t b = byte_at(qs.word, i);
    return d * (float_from_bits((b & 0x80) << 24 | (b & 0x7f) << 20) * 0x1p120f);
  }
  template <class Store>
  GPU_FN void decode(int, int, Store store) {
    qs.align();
    GPU_UNROLL
    for (int i = 0; i < 64; i += 8) {
      store(i / 8, uint4{pack_bf16(value(i), value(i + 1)), pack_bf16(value(i + 2), value(i + 3)),
                         pack_bf16(value(i + 4), value(i + 5)), pack_bf16(value(i + 6), value(i + 7))});
    }
  }
};

template <>
struct WeightRun<BlockI4_G128> {  // halves of 64: a run is all low or all high nibbles
  Window<64, 2> qs;
  float d;

  GPU_FN void load(const std::byte* row, const std::byte* end, int run, int) {
    const auto* block = reinterpret_cast<const BlockI4_G128*>(row) + run / 2;
    d = half_to_float(block->d);
    qs.load(block->qs, end);
  }
  template <class Store>
  GPU_FN void decode(int run, int, Store store) {
    qs.align();
    GPU_UNROLL
    for (int i = 0; i < 8; ++i) {  // two's complement: with the top bit turned it is q + 8
      store(i, pack_levels(nibbles_of(qs.word[2 * i], run % 2) ^ 0x08080808u,
                           nibbles_of(qs.word[2 * i + 1], run % 2) ^ 0x08080808u, 8, d));
    }
  }
};

// ---- 256 weights: run % 4 is the quarter of the block

// Byte g of 16 bytes, g known only when running.
GPU_FN uint32_t byte_of(const uint4& bytes, int g) {
  const uint32_t low = g & 4 ? bytes.y : bytes.x, high = g & 4 ? bytes.w : bytes.z;
  return (g & 8 ? high : low) >> 8 * (g & 3) & 255;
}

// Scale and min of group g of Q4_K and Q5_K: `header` is their first 16 bytes, d and dmin first.
GPU_FN void k_scale_min(const uint4& header, int g, float& step, float& min) {
  uint32_t scale, m;
  if (g < 4) {
    scale = byte_of(header, 4 + g) & 63;
    m = byte_of(header, 8 + g) & 63;
  } else {
    const uint32_t low = byte_of(header, 8 + g);
    scale = (low & 15) | byte_of(header, g) >> 6 << 4;
    m = low >> 4 | byte_of(header, 4 + g) >> 6 << 4;
  }
  step = half_to_float(uint16_t(header.x)) * float(scale);
  min = half_to_float(uint16_t(header.x >> 16)) * float(m);
}

template <>
struct WeightRun<BlockQ4_K> {
  uint4 header;
  Window<32, 16> qs;

  GPU_FN void load(const std::byte* row, const std::byte* end, int run, int) {
    const std::byte* block = row + size_t(run / 4) * sizeof(BlockQ4_K);
    header = *reinterpret_cast<const uint4*>(block);
    qs.load(block + 16 + run % 4 * 32, end);
  }
  template <class Store>
  GPU_FN void decode(int run, int, Store store) {
    GPU_UNROLL
    for (int half = 0; half < 2; ++half) {
      float step, min;
      k_scale_min(header, run % 4 * 2 + half, step, min);
      GPU_UNROLL
      for (int i = 0; i < 4; ++i) {
        store(4 * half + i,
              pack_levels(nibbles_of(qs.word[2 * i], half), nibbles_of(qs.word[2 * i + 1], half), 0, step, min));
      }
    }
  }
};

template <>
struct WeightRun<BlockQ5_K> {
  uint4 header;
  Window<32, 16> qh, qs;

  GPU_FN void load(const std::byte* row, const std::byte* end, int run, int) {
    const std::byte* block = row + size_t(run / 4) * sizeof(BlockQ5_K);
    header = *reinterpret_cast<const uint4*>(block);
    qh.load(block + 16, end);
    qs.load(block + 48 + run % 4 * 32, end);
  }
  GPU_FN uint32_t levels(int i, int half, int g) const {
    return nibbles_of(qs.word[i], half) | (qh.word[i] >> g & 0x01010101u) << 4;
  }
  template <class Store>
  GPU_FN void decode(int run, int, Store store) {
    GPU_UNROLL
    for (int half = 0; half < 2; ++half) {
      const int g = run % 4 * 2 + half;
      float step, min;
      k_scale_min(header, g, step, min);
      GPU_UNROLL
      for (int i = 0; i < 4; ++i) {
        store(4 * half + i, pack_levels(levels(2 * i, half, g), levels(2 * i + 1, half, g), 0, step, min));
      }
    }
  }
};

template <>
struct WeightRun<BlockQ6_K> {
  Window<64, 2> ql;
  Window<32, 2> qh;
  uint32_t scales;  // of the run's four groups
  float d;

  GPU_FN void load(const std::byte* row, const std::byte* end, int run, int) {
    const auto* block = reinterpret_cast<const BlockQ6_K*>(row) + run / 4;
    ql.load(block->ql + run % 4 / 2 * 64, end);
    qh.load(block->qh + run % 4 / 2 * 32, end);
    const int8_t* group = block->scales + run % 4 * 4;
    scales = load_u16(group) | load_u16(group + 2) << 16;
    d = half_to_float(block->d);
  }
  // Four levels: word i of 16.
  GPU_FN uint32_t levels(int i, int second) const {
    const int quarter = 2 * second + i / 8;
    return nibbles_of(ql.word[i], second) | (qh.word[i % 8] >> 2 * quarter & 0x03030303u) << 4;
  }
  template <class Store>
  GPU_FN void decode(int run, int, Store store) {
    ql.align();
    qh.align();
    const int second = run % 2;
    GPU_UNROLL
    for (int i = 0; i < 8; ++i) {
      const float step = d * float(int8_t(scales >> i / 2 * 8));
      store(i, pack_levels(levels(2 * i, second), levels(2 * i + 1, second), 32, step));
    }
  }
};

template <>
struct WeightRun<BlockQ2_K> {
  Window<32, 4> qs;
  uint32_t scales, d_dmin;

  GPU_FN void load(const std::byte* row, const std::byte* end, int run, int) {
    const std::byte* block = row + size_t(run / 4) * sizeof(BlockQ2_K);
    qs.load(block + offsetof(BlockQ2_K, qs) + run % 4 / 2 * 32, end);
    scales = *reinterpret_cast<const uint32_t*>(block + run % 4 * 4);
    d_dmin = *reinterpret_cast<const uint32_t*>(block + offsetof(BlockQ2_K, d));
  }
  GPU_FN uint32_t levels(int i, int run) const { return qs.word[i % 8] >> (run % 2 * 4 + i / 8 * 2) & 0x03030303u; }
  template <class Store>
  GPU_FN void decode(int run, int, Store store) {
    qs.align();
    const float d = half_to_float(uint16_t(d_dmin)), dmin = half_to_float(uint16_t(d_dmin >> 16));
    GPU_UNROLL
    for (int i = 0; i < 8; ++i) {
      const uint32_t group = scales >> i / 2 * 8;
      store(i, pack_levels(levels(2 * i, run), levels(2 * i + 1, run), 0, d * float(group & 15),
                           dmin * float(group >> 4 & 15)));
    }
  }
};

template <>
struct WeightRun<BlockQ3_K> {
  Window<32, 2> hmask, qs;
  uint32_t low, high;  // of the run's four scales: 4 bits each in 8 or 16, and 2 bits each
  float d;

  GPU_FN void load(const std::byte* row, const std::byte* end, int run, int) {
    const auto* block = reinterpret_cast<const BlockQ3_K*>(row) + run / 4;
    hmask.load(block->hmask, end);
    qs.load(block->qs + run % 4 / 2 * 32, end);
    const uint8_t* low_bits = block->scales + run % 2 * 4;
    low = load_u16(low_bits) | load_u16(low_bits + 2) << 16;
    high = load_u16(block->scales + 8) | load_u16(block->scales + 10) << 16;
    d = half_to_float(block->d);
  }
  // q + 4
  GPU_FN uint32_t levels(int i, int run) const {
    return (qs.word[i % 8] >> (run % 2 * 4 + i / 8 * 2) & 0x03030303u) |
           (hmask.word[i % 8] >> (run % 4 * 2 + i / 8) & 0x01010101u) << 2;
  }
  template <class Store>
  GPU_FN void decode(int run, int, Store store) {
    hmask.align();
    qs.align();
    const int quarter = run % 4;
    GPU_UNROLL
    for (int i = 0; i < 8; ++i) {
      const int bits = i / 2 * 8;
      const uint32_t scale = (low >> (bits + quarter / 2 * 4) & 15) | (high >> (bits + quarter * 2) & 3) << 4;
      store(i, pack_levels(levels(2 * i, run), levels(2 * i + 1, run), 4, d * float(int(scale) - 32)));
    }
  }
};

template <>
struct WeightRun<BlockIQ4_XS> {
  Window<32, 8> qs;
  uint2 header;  // d, scales_h, scales_l

  GPU_FN void load(const std::byte* row, const std::byte* end, int run, int) {
    const std::byte* block = row + size_t(run / 4) * sizeof(BlockIQ4_XS);
    header = *reinterpret_cast<const uint2*>(block);
    qs.load(block + 8 + run % 4 * 32, end);
  }
  template <class Store>
  GPU_FN void decode(int run, int, Store store) {
    qs.align();
    GPU_UNROLL
    for (int i = 0; i < 8; ++i) {
      const int half = i / 4, g = run % 4 * 2 + half;
      const uint32_t scale = (header.y >> 4 * g & 15) | (header.x >> (16 + 2 * g) & 3) << 4;
      const float step = half_to_float(uint16_t(header.x)) * float(int(scale) - 32);
      const int word = 4 * half + i % 2 * 2;
      store(i, pack_iq4(qs.word[word], qs.word[word + 1], i % 4 / 2, step));
    }
  }
};

// ---- Plain floats of 16 bits, in rows of any length

template <class Block>
struct Halves {
  Window<128, 2> values;

  GPU_FN void load(const std::byte* row, const std::byte* end, int run, int n) {
    values.load(row + size_t(run) * 128, end, 2 * n);
  }
  GPU_FN static uint32_t to_bf16(uint32_t two, BlockBF16) { return two; }
  GPU_FN static uint32_t to_bf16(uint32_t two, BlockF16) {
    return pack_bf16(half_to_float(uint16_t(two)), half_to_float(uint16_t(two >> 16)));
  }
  GPU_FN uint32_t pair(int i, int n) const {
    const uint32_t known = 2 * i + 1 < n ? 0xffffffffu : 2 * i < n ? 0xffffu : 0u;
    return to_bf16(values.word[i] & known, Block{});
  }
  template <class Store>
  GPU_FN void decode(int, int n, Store store) {
    values.align();
    GPU_UNROLL
    for (int i = 0; i < 8; ++i) {
      store(i, uint4{pair(4 * i, n), pair(4 * i + 1, n), pair(4 * i + 2, n), pair(4 * i + 3, n)});
    }
  }
};
template <>
struct WeightRun<BlockBF16> : Halves<BlockBF16> {};
template <>
struct WeightRun<BlockF16> : Halves<BlockF16> {};

}  // namespace hearth::gpu
