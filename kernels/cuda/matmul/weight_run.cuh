// WeightRun<Block>: gets 64 neighbouring weights of one row from the file's blocks into shared memory, in bf16 or
// bytes.
//
// In two steps, so that a tile kernel can put its tensor-core work between them. load() reads the bytes into registers
// and does not wait for them. decode() turns them into eight pieces of eight values, in the order of the row: in bf16
// either weights, those of quant/decode.h rounded once, or exact levels; or exact levels in signed bytes. scales()
// gives the levels' scales. What the bits mean is in decode.cuh. The bytes come through one window (weight_window.cuh)
// for each place in a block that has bits of the run.
//
// To become weights, levels are written into the mantissa of 2^23: one byte permutation, one subtraction and one
// multiplication each, then one conversion for two. To stay levels, they are written into the mantissa of bf16's 128:
// one permutation and one subtraction for two. As signed bytes they only lose the format's offset, four at a time.
#pragma once

#include <type_traits>

#include "kernels/cuda/matmul/decode_iqk.cuh"
#include "kernels/cuda/matmul/weight_window.cuh"

namespace hearth::gpu {

inline constexpr int kRun = 64, kGroupsOfRun = 4;

// ---- Levels to bf16

// Byte i of four, 0 .. 255, minus `zero`.
GPU_FN float level_of(uint32_t bytes, int i, float zero) {
  return float_from_bits(byte_permute(bytes, 0x4b000000u, 0x7440u + uint32_t(i))) - (8388608.0f + zero);
}

// The eight levels in the bytes of a, then of b, minus the format's offset.
template <class Block>
GPU_FN void spread_levels(uint32_t a, uint32_t b, float (&v)[8]) {
  constexpr bool kSigned = Bits<Block>::kZero == Zero::none;  // levels are moved up by 128
  constexpr float kZero = kSigned ? 128 : float(Bits<Block>::kOffset);
  GPU_UNROLL
  for (int i = 0; i < 4; ++i) {
    v[i] = level_of(kSigned ? a ^ 0x80808080u : a, i, kZero);
    v[4 + i] = level_of(kSigned ? b ^ 0x80808080u : b, i, kZero);
  }
}

GPU_FN uint4 pack(const float (&v)[8]) {
  return {pack_bf16(v[0], v[1]), pack_bf16(v[2], v[3]), pack_bf16(v[4], v[5]), pack_bf16(v[6], v[7])};
}

// What decode() makes: weights, rounded to bf16; exact levels: integers of 8 bits, e4m3's numbers, or plain 16-bit
// floats as they are, including fp16, which is split later (split_halves); or, of integer formats, levels as bytes.
enum class Form { weights, levels, bytes };

// Eight values.
template <Form form>
using Piece = std::conditional_t<form == Form::bytes, uint2, uint4>;

// Two fp16, each as the sum of two bf16: the rounded value, and the remainder (NaN for infinities).
GPU_FN void split_halves(uint32_t halves, uint32_t& high, uint32_t& low) {
  const float left = lower_half(halves), right = upper_half(halves);
  high = pack_bf16(left, right);
  low = pack_bf16(left - float_from_bits(high << 16), right - float_from_bits(high & 0xffff0000u));
}

// Levels i and i + 1 of the four in the bytes, exact: bf16 counts from 128, 0x4300, to 255 in steps of one.
template <class Block>
GPU_FN uint32_t pair_of_levels(uint32_t bytes, int i) {
  const uint32_t pair = byte_permute(bytes, 0x43434343u, i == 0 ? 0x4140 : 0x4342);
  if constexpr (Bits<Block>::kZero == Zero::none) {  // signed: minus 128, or minus 256 where the top bit is set
    return fma_bf16x2(pair & 0xff80ff80u, 0xbf80bf80u, pair & 0xff7fff7fu);
  } else {
    constexpr uint32_t kLess = 0xc300 + Bits<Block>::kOffset;
    return fma_bf16x2(pair, 0x3f803f80u, kLess << 16 | kLess);
  }
}

// Four levels as signed bytes. Levels and the offset are below 128, so that no byte borrows from its neighbour.
template <class Block>
GPU_FN uint32_t signed_levels(uint32_t bytes) {
  if constexpr (Bits<Block>::kZero == Zero::offset) {
    static_assert(Bits<Block>::kOffset < 128);
    return ((bytes | 0x80808080u) - Bits<Block>::kOffset * 0x01010101u) ^ 0x80808080u;
  } else {
    return bytes;
  }
}

// Eight weights of group k + i, or their levels, from the levels in the bytes of a, then of b.
template <Form form, class Block>
GPU_FN Piece<form> pack([[maybe_unused]] const Bits<Block>& bits, [[maybe_unused]] unsigned k, [[maybe_unused]] int i,
                        uint32_t a, uint32_t b) {
  if constexpr (form == Form::bytes) {
    return {signed_levels<Block>(a), signed_levels<Block>(b)};
  } else if constexpr (form == Form::levels) {
    return {pair_of_levels<Block>(a, 0), pair_of_levels<Block>(a, 2), pair_of_levels<Block>(b, 0),
            pair_of_levels<Block>(b, 2)};
  } else {
    float v[8];
    spread_levels<Block>(a, b, v);
    const float scale = bits.scale(k, i);
    if constexpr (Bits<Block>::kZero == Zero::min) {
      const float min = bits.min(k, i);
      GPU_UNROLL
      for (int j = 0; j < 8; ++j) v[j] = scale * v[j] - min;
    } else {  // only bf16's rounding (a branch of its own, since the compiler might not drop a - 0)
      GPU_UNROLL
      for (int j = 0; j < 8; ++j) v[j] *= scale;
    }
    return pack(v);
  }
}

// ---- What levels are multiplied with

// weight = scale * level - min, by the groups of a run. kGroups neighbouring groups have one scale.
template <class Block>
struct RunScales {
  using B = Bits<Block>;
  static constexpr bool kAny = true, kMins = B::kZero == Zero::min;
  static constexpr int kGroups = B::kPerScale < kGroupsOfRun ? B::kPerScale : kGroupsOfRun;
  static constexpr int kCount = kGroupsOfRun / kGroups;
  float scale[kCount] = {}, min[kMins ? kCount : 1] = {};

  // Sets entry i from group k + j.
  GPU_FN void set(int i, const B& bits, unsigned k, int j) {
    scale[i] = bits.scale(k, j);
    if constexpr (kMins) min[i] = bits.min(k, j);
  }
  // Moves the next entry to the front: array indices not known at compile time would put the arrays into memory.
  GPU_FN void advance() {
    GPU_UNROLL
    for (int i = 0; i + 1 < kCount; ++i) {
      scale[i] = scale[i + 1];
      if constexpr (kMins) min[i] = min[i + 1];
    }
  }
};
// Float formats: one scale for a run of a block; no scale for plain floats.
template <class Block>
requires(Bits<Block>::kFloats) struct RunScales<Block> {
  static constexpr bool kAny = Block::kElems > 1, kMins = false;
  static constexpr int kGroups = kGroupsOfRun, kCount = 1;
  float scale[1] = {}, min[1] = {};
  GPU_FN void advance() {}
};

// ---- One run of each kind of format. `end` is the end of the tensor, `run` counts runs in the row, n is how many of
// the run's weights the row has (64, or fewer at its end). store(i, piece) gets the weights 8 i .. 8 i + 7, or their
// levels; those from n on are zeros. scales() is called after decode().

// Large blocks of an integer format: groups 4 (run % kRuns) .. + 3 of one block. The four groups of every run have the
// same distances from each other in low_at and high_at.
template <class Block>
struct WeightRun {
  using B = Bits<Block>;
  static constexpr unsigned kRuns = Block::kElems / kRun;
  HEARTH_HD static constexpr unsigned low_word(unsigned i) { return (B::low_at(i) - B::low_at(0)) / 4; }
  HEARTH_HD static constexpr unsigned high_word([[maybe_unused]] unsigned i) {
    if constexpr (B::kHigh) return (B::high_at(i) - B::high_at(0)) / 4;
    return 0;
  }
  static constexpr int kLowBytes = 4 * int(low_word(3)) + 16, kHighBytes = 4 * int(high_word(3)) + 16;
  B bits;
  Window<kLowBytes, B::kAlign> low;
  Window<kHighBytes, B::kAlign> high;  // used if B::kHigh

  GPU_FN static unsigned group(int run) { return unsigned(run) % kRuns * kGroupsOfRun; }

  GPU_FN void load(const std::byte* row, const std::byte* end, int run, int) {
    const std::byte* block = row + kHeaderBytes<Block> + size_t(unsigned(run) / kRuns) * sizeof(Block);
    RowHeader<Block> header;
    header.load(row);
    read_scales<kGroupsOfRun>(bits, header, InMemory{block}, group(run));
    low.load(block + B::low_at(group(run)), end);
    if constexpr (B::kHigh) high.load(block + B::high_at(group(run)), end);
  }
  template <Form form, class Store>
  GPU_FN void decode(int run, int, Store store) {
    const unsigned k = group(run);
    low.align();
    if constexpr (B::kHigh) high.align();
    GPU_UNROLL
    for (int i = 0; i < kGroupsOfRun; ++i) {
      const auto levels = [&](int j) {
        const uint32_t high_bits = B::kHigh ? high.word[high_word(i) + j] : 0;
        return bits.levels(low.word[low_word(i) + j], high_bits, k + i, j);
      };
      GPU_UNROLL
      for (int j = 0; j < 4; j += 2) store(2 * i + j / 2, pack<form>(bits, k, i, levels(j), levels(j + 1)));
    }
  }
  GPU_FN void scales(int run, int, RunScales<Block>& to) const {
    GPU_UNROLL
    for (int i = 0; i < to.kCount; ++i) to.set(i, bits, group(run), i * to.kGroups);
  }
};

// Blocks of which all that is needed is read with the scales, as those of a codebook.
template <class Block>
requires(Block::kElems >= kRun && Bits<Block>::kCodebook) struct WeightRun<Block> {
  using B = Bits<Block>;
  static constexpr unsigned kRuns = Block::kElems / kRun;
  B bits;

  GPU_FN static unsigned group(int run) { return unsigned(run) % kRuns * kGroupsOfRun; }

  GPU_FN void load(const std::byte* row, const std::byte*, int run, int) {
    const std::byte* block = row + kHeaderBytes<Block> + size_t(unsigned(run) / kRuns) * sizeof(Block);
    RowHeader<Block> header;
    header.load(row);
    read_scales<kGroupsOfRun>(bits, header, InMemory{block}, group(run));
  }
  template <Form form, class Store>
  GPU_FN void decode(int run, int, Store store) {
    const unsigned k = group(run);
    GPU_UNROLL
    for (int i = 0; i < kGroupsOfRun; ++i) {
      GPU_UNROLL
      for (int j = 0; j < 2; ++j) {
        uint32_t a, b;
        bits.eight(k, i, j, a, b);
        store(2 * i + j, pack<form>(bits, k, i, a, b));
      }
    }
  }
  GPU_FN void scales(int run, int, RunScales<Block>& to) const {
    GPU_UNROLL
    for (int i = 0; i < to.kCount; ++i) to.set(i, bits, group(run), i * to.kGroups);
  }
};

// A block in the registers of a window, from byte `first` on. All offsets are known at compile time.
struct InWindow {
  const uint32_t* word;
  unsigned first;

  GPU_FN uint32_t word_at(unsigned at) const {
    const unsigned i = (first + at) / 4, shift = (first + at) % 4 * 8;
    return shift == 0 ? word[i] : word[i] >> shift | word[i + 1] << (32 - shift);
  }
  GPU_FN uint16_t half(unsigned at) const { return uint16_t(word[(first + at) / 4] >> (first + at) % 4 * 8); }
  template <int, int n>
  GPU_FN uint32_t bytes(unsigned at) const {
    static_assert(n == 1);
    return word[(first + at) / 4] >> (first + at) % 4 * 8 & 255;
  }
  template <int, int n>
  GPU_FN void words(unsigned at, uint32_t (&to)[n]) const {
    GPU_UNROLL
    for (int i = 0; i < n; ++i) to[i] = word_at(at + 4 * unsigned(i));
  }
};

// Two blocks of 32 weights, side by side.
template <class Block>
requires(Block::kElems == 32) struct WeightRun<Block> {
  using B = Bits<Block>;
  static constexpr int kBytes = sizeof(Block);
  RowHeader<Block> header;
  Window<2 * kBytes, B::kAlign> bytes;

  GPU_FN void load(const std::byte* row, const std::byte* end, int run, int n) {
    header.load(row);
    bytes.load(row + kHeaderBytes<Block> + size_t(run) * 2 * kBytes, end, n > 32 ? 2 * kBytes : kBytes);
  }
  template <Form form, class Store>
  GPU_FN void decode(int, int n, Store store) {
    bytes.align();
    GPU_UNROLL
    for (int i = 0; i < kGroupsOfRun; ++i) {
      const unsigned k = unsigned(i) % 2;
      const InWindow block{bytes.word, unsigned(i / 2 * kBytes)};
      B bits;
      read_scales<1>(bits, header, block, k);
      const auto levels = [&](int j) { return bits.levels(block.word_at(B::low_at(k) + 4 * unsigned(j)), 0, k, j); };
      GPU_UNROLL
      for (int j = 0; j < 4; j += 2) {
        store(2 * i + j / 2, i < 2 || n > 32 ? pack<form>(bits, k, 0, levels(j), levels(j + 1)) : Piece<form>{});
      }
    }
  }
  GPU_FN void scales(int, int n, RunScales<Block>& to) const {
    GPU_UNROLL
    for (int i = 0; i < to.kCount; ++i) {
      B bits;
      read_scales<1>(bits, header, InWindow{bytes.word, unsigned(i * kBytes)}, 0);
      to.set(i, bits, 0, 0);
      if (i > 0 && n <= 32) to.scale[i] = to.min[to.kMins ? i : 0] = 0;  // bytes behind the row are anything
    }
  }
};

// Float formats: large blocks, or plain floats in rows of any length.
template <class Block>
requires(Bits<Block>::kFloats) struct WeightRun<Block> {
  static_assert(kHeaderBytes<Block> == 0);
  using B = Bits<Block>;
  static constexpr int kBytes = 4 / B::kPerWord, kWordsOfPiece = 8 / B::kPerWord;  // of a weight; of 8 weights
  B bits;
  Window<kRun * kBytes, B::kAlign> values;

  GPU_FN void load(const std::byte* row, const std::byte* end, int run, int n) {
    const unsigned first = unsigned(run) * kRun;
    const std::byte* block = row + size_t(first / Block::kElems) * sizeof(Block);
    bits.read(InMemory{block});
    values.load(block + B::kAt + first % Block::kElems * kBytes, end, n * kBytes);
  }
  template <Form form, class Store>
  GPU_FN void decode(int, int n, Store store) {
    values.align();
    if constexpr (Block::kElems == 1) {  // bytes behind the row are anything
      static_assert(kBytes == 2);
      GPU_UNROLL
      for (int i = 0; i < kRun / 2; ++i) {
        values.word[i] &= 2 * i + 1 < n ? 0xffffffffu : 2 * i < n ? 0xffffu : 0u;
      }
    }
    [[maybe_unused]] const float scale = scale_of_run();
    GPU_UNROLL
    for (int i = 0; i < kRun / 8; ++i) {
      const uint32_t* words = values.word + i * kWordsOfPiece;
      if constexpr (kWordsOfPiece == 4 && (form == Form::levels || std::is_same_v<Block, BlockBF16>)) {
        store(i, uint4{words[0], words[1], words[2], words[3]});
      } else {
        float w[8];
        GPU_UNROLL
        for (int j = 0; j < kWordsOfPiece; ++j) B::floats(words[j], w + j * B::kPerWord);
        if constexpr (form == Form::weights) {
          GPU_UNROLL
          for (int j = 0; j < 8; ++j) w[j] *= scale;
        }
        store(i, pack(w));
      }
    }
  }
  GPU_FN void scales(int, int, RunScales<Block>& to) const { to.scale[0] = scale_of_run(); }

 private:
  GPU_FN float scale_of_run() const {
    uint32_t nans = 0;
    GPU_UNROLL
    for (int i = 0; i < kRun / B::kPerWord; ++i) nans |= B::nans_of(values.word[i]);
    return bits.scale(nans);
  }
};

}  // namespace hearth::gpu
