// A warp's 32 rows of weights as tensor cores take them, from the bytes that few_copies.cuh staged: slices of 16 along
// k, of which a lane has four weights of each of four rows.
//
// Of integer formats these are exact levels in bf16. A lane reads the four bytes that hold its levels of a slice of one
// row (and, in formats of fewer bits, of the slices that are packed in the same bytes), so that nothing is decoded
// twice and nothing repacked. Scales are the exception: four lanes have the same rows. So before a span of 128 weights
// is multiplied, lane l decodes those of row l into shared memory, and where levels come from a codebook, eight at a
// time, these as well.
#pragma once

#include "kernels/cuda/matmul/few_copies.cuh"
#include "kernels/cuda/matmul/weight_run.cuh"
#include "kernels/cuda/matmul/weight_unit.cuh"

namespace hearth::gpu::few {

// Rows lane / 4 + 8 j of the warp, j = 0 .. 3: those of a lane in the fragments of two products of 16 rows.
inline constexpr int kLaneRows = 4, kSlices = kSpan / 16;

// The left operands of a slice: 16 rows, then the other 16.
using Fragments = uint32_t[2][4];

// Sets what row j of the lane has in them: its values 0 and 1, 2 and 3.
GPU_FN void set_row(Fragments& a, int j, uint32_t first, uint32_t second) {
  a[j / 2][j % 2] = first;
  a[j / 2][j % 2 + 2] = second;
}

// Scales of a span, [group][row], rows in the order in which a lane reads those of its four.
GPU_FN int scale_place(int row) {
  return row % 8 * kLaneRows + row / 8;
}

// Bytes of a row from a multiple of kAlign on, in shared memory; up to 3 before and 4 behind a word are read too.
template <int kAlign>
struct Staged {
  const std::byte* p;  // for kAlign 2: aligned to 4, and what moves the bytes into place
  uint32_t selector = 0;

  GPU_FN explicit Staged(const std::byte* bytes) : p(bytes) {
    if constexpr (kAlign == 2) {
      const uint32_t odd = uint32_t(reinterpret_cast<size_t>(bytes)) & 2;
      p -= odd;
      selector = 0x3210 + 0x1111 * odd;
    }
  }
  GPU_FN uint32_t word(unsigned at) const {
    if constexpr (kAlign >= 4) return *reinterpret_cast<const uint32_t*>(p + at);
    if constexpr (kAlign == 2) {
      // Two bytes on, the word begins two bytes later, or where the next one does.
      const int odd = int(selector & 2);
      const std::byte* from = at % 4 == 0 ? p : p - 2 + 2 * odd;
      const auto* words = reinterpret_cast<const uint32_t*>(from + at);
      return byte_permute(words[0], words[1], at % 4 == 0 ? selector : 0x8642 - selector);
    }
    uint32_t one[1];
    load_staged<1>(p + at, one);
    return one[0];
  }
};

template <class Block, bool = Bits<Block>::kFloats>
struct Weights;

// ---- Integer formats

// bf16 of levels 0 and 1, or 2 and 3, of a word; where there is a min to subtract anyway, plus kPlus: bf16 counts from
// 32 to 63 in steps of a quarter, and such levels are below 32.
inline constexpr int kPlus = 32;
template <class Block>
GPU_FN uint32_t pair_of(uint32_t levels, int i) {
  if constexpr (Bits<Block>::kZero == Zero::min) {
    return byte_permute(levels << 2, 0x42424242u, i == 0 ? 0x4140 : 0x4342);
  } else {
    return pair_of_levels<Block>(levels, i);
  }
}

template <class Block>
struct Weights<Block, false> {
  using B = Bits<Block>;
  using S = Stage<Block>;
  static constexpr Lanes kLanes = Lanes::quads;
  static constexpr bool kScaled = true, kMins = B::kZero == Zero::min;
  // Slices of a sum that one scale multiplies, and such sums in a span.
  static constexpr int kSlicesOfSum = B::kPerScale == 1 ? 1 : 2, kSums = kSlices / kSlicesOfSum;
  static constexpr int kScales = kSums, kScaleBytes = kScales * kWarpRows * int(sizeof(float));
  // Of a codebook: a span's levels, [row][128], rows in different groups of banks.
  static constexpr int kLevelSlot = B::kCodebook ? kSpan + 16 : 0;
  static constexpr int kBytes = (kMins ? 2 : 1) * kScaleBytes + kWarpRows * kLevelSlot;
  static constexpr bool kNans = false;

  float *scales, *mins;
  std::byte* levels;
  RowHeader<Block> header{};  // of row `lane`

  GPU_FN explicit Weights(std::byte* shared)
      : scales(reinterpret_cast<float*>(shared)),
        mins(reinterpret_cast<float*>(shared + kScaleBytes)),
        levels(shared + (kMins ? 2 : 1) * kScaleBytes) {}
  GPU_FN void load_header(const std::byte* row) {
    if constexpr (kHeaderBytes<Block> != 0) header.load(row);
  }

  // Decodes what row `lane` has of the span in the stage, of which n weights exist. stage: the row's bytes there.
  GPU_FN void prepare(const std::byte* stage, int span, int n) {
    if constexpr (Block::kElems == 32) {
      static_assert(kSlicesOfSum == 2);
      GPU_UNROLL
      for (int i = 0; i < kSums; ++i) {
        B bits;
        read_scales<1>(bits, header, InMemory{stage + (kSums * span + i) * S::kSize}, 0);
        store(i, bits, 0, 0, 32 * i < n);
      }
    } else {
      GPU_UNROLL
      for (unsigned four = 0; four < kSlices; four += 4) {  // 64 weights, of one block
        const unsigned slice = unsigned(span) * kSlices + four;
        constexpr unsigned kInBlock = Block::kElems / 16;
        const unsigned number = kInBlock == 16 ? 0 : slice / kInBlock;
        const std::byte* block = stage + number * S::kSize;
        const unsigned first = slice - number * kInBlock;
        B bits;
        read_scales<4>(bits, header, InMemory{block}, first);
        GPU_UNROLL
        for (unsigned i = 0; i < 4; i += kSlicesOfSum) {
          store(int(four + i) / kSlicesOfSum, bits, first, int(i), Block::kElems >= kSpan || 16 * int(four) < n);
        }
        if constexpr (B::kCodebook) {
          GPU_UNROLL
          for (unsigned i = 0; i < 4; ++i) {
            uint4 sixteen;
            bits.eight(first, int(i), 0, sixteen.x, sixteen.y);
            bits.eight(first, int(i), 1, sixteen.z, sixteen.w);
            *reinterpret_cast<uint4*>(levels + lane_of_thread() * kLevelSlot + 16 * (four + i)) = sixteen;
          }
        }
      }
    }
  }

  // Calls f(sum, fragments of its slices) for each sum of the span in the stage. rows: the lane's four.
  template <class F>
  GPU_FN void for_sums(const std::byte* const (&rows)[kLaneRows], int span, F f) {
    if constexpr (B::kCodebook) {
      GPU_UNROLL
      for (int sum = 0; sum < kSums; ++sum) {
        Fragments a[kSlicesOfSum];
        GPU_UNROLL
        for (int s = 0; s < kSlicesOfSum; ++s) {
          GPU_UNROLL
          for (int j = 0; j < kLaneRows; ++j) {
            const int row = lane_of_thread() / 4 + 8 * j, slice = sum * kSlicesOfSum + s;
            const uint32_t four =
                *reinterpret_cast<const uint32_t*>(levels + row * kLevelSlot + 16 * slice + lane_of_thread() % 4 * 4);
            set_row(a[s], j, pair_of<Block>(four, 0), pair_of<Block>(four, 2));
          }
        }
        f(sum, a);
      }
    } else {
      for_bundles(rows, span, f);
    }
  }

 private:
  // Entry i of the row's scales, from group k + j.
  GPU_FN void store(int i, const B& bits, unsigned k, int j, bool exists) const {
    const int at = i * kWarpRows + scale_place(lane_of_thread());
    const float scale = bits.scale(k, j);
    scales[at] = exists ? scale : 0.0f;
    if constexpr (kMins) mins[at] = exists ? bits.min(k, j) + float(kPlus) * scale : 0.0f;
  }

  // A row's bytes for two slices that are packed together, kApart apart, and what their levels depend on besides.
  static constexpr bool kSharedBytes = [] {
    if constexpr (B::kCodebook)
      return false;
    else
      return B::low_at(0) == B::low_at(B::kApart);
  }();
  struct Packed {
    B bits;
    uint32_t low[kSharedBytes ? 1 : 2], high = 0;
    GPU_FN uint32_t levels(unsigned k, int half) const {
      return bits.levels(low[kSharedBytes ? 0 : half], high, k, lane_of_thread() % 4);
    }
  };

  // A bundle: as many pairs of packed slices as make whole sums.
  template <class F>
  GPU_FN void for_bundles(const std::byte* const (&rows)[kLaneRows], int span, F f) const {
    constexpr bool kNeighbours = B::kApart == 1;  // the two slices of a pair
    constexpr int kPairs = kNeighbours ? 1 : kSlicesOfSum, kBundles = kSlices / 2 / kPairs;
    const unsigned in_block = Block::kElems == 256 ? unsigned(span) * kSlices : 0;  // the span's first slice
    const std::byte* starts[kLaneRows];                                             // the span's first block
    GPU_UNROLL
    for (int j = 0; j < kLaneRows; ++j)
      starts[j] = Block::kElems == 256 ? rows[j] : rows[j] + span * (kSpan / S::kElems * S::kSize);
    // low_at and high_at of a block's second half are as far apart for every slice.
    const unsigned low_first = B::low_at(in_block) - B::low_at(0);
    unsigned high_first = 0;
    if constexpr (B::kHigh) high_first = B::high_at(in_block) - B::high_at(0);
    const int at = lane_of_thread() % 4 * 4;
    GPU_UNROLL
    for (int b = 0; b < kBundles; ++b) {
      const unsigned first = unsigned(b * kPairs / B::kApart * (2 * B::kApart) + b * kPairs % B::kApart);
      constexpr bool kBlockOfPair = Block::kElems == 32;
      const unsigned own = kBlockOfPair ? 0 : first, block = kBlockOfPair ? unsigned(b * S::kSize) : 0;
      Packed packed[kPairs][kLaneRows];
      GPU_UNROLL
      for (int j = 0; j < kLaneRows; ++j) {
        const Staged<B::kAlign> low(starts[j] + low_first + at), high(starts[j] + high_first + at);
        GPU_UNROLL
        for (unsigned pair = 0; pair < kPairs; ++pair) {
          Packed& p = packed[pair][j];
          read_scales<1>(p.bits, header, InMemory{starts[j] + block}, in_block + own + pair);
          p.low[0] = low.word(block + B::low_at(own + pair));
          if constexpr (!kSharedBytes) p.low[1] = low.word(block + B::low_at(own + pair + B::kApart));
          if constexpr (B::kHigh) p.high = high.word(block + B::high_at(own + pair));
        }
      }
      const unsigned k = in_block + own;
      const auto set = [&](Fragments& a, int pair, int half) {
        GPU_UNROLL
        for (int j = 0; j < kLaneRows; ++j) {
          const uint32_t four = packed[pair][j].levels(k + unsigned(pair + half * B::kApart), half);
          set_row(a, j, pair_of<Block>(four, 0), pair_of<Block>(four, 2));
        }
      };
      if constexpr (kNeighbours && kSlicesOfSum == 2) {
        Fragments a[2];
        set(a[0], 0, 0);
        set(a[1], 0, 1);
        f(b, a);
      } else {
        GPU_UNROLL
        for (int half = 0; half < 2; ++half) {
          Fragments a[kSlicesOfSum];
          GPU_UNROLL
          for (int pair = 0; pair < kSlicesOfSum; ++pair) set(a[pair], pair, half);
          f((int(first) + half * B::kApart) / kSlicesOfSum, a);
        }
      }
    }
  }
};

// ---- Float formats

// Numbers 0 and 1, or 2 and 3, of a word as bf16. Put into its places they are the numbers times 2^-120, subnormals
// included; NaN is seen elsewhere.
GPU_FN uint32_t pair_of_e4m3(uint32_t word, int i) {
  const uint32_t high = byte_permute(word, 0, i == 0 ? 0x1404 : 0x3424);
  return fma_bf16x2((high & 0x80008000u) | (high >> 4 & 0x07f007f0u), 0x7b807b80u, 0x80008000u);
}

// A block is a span, with one scale.
template <>
struct Weights<BlockF8_E4M3, true> {
  using B = Bits<BlockF8_E4M3>;
  using S = Stage<BlockF8_E4M3>;
  static constexpr Lanes kLanes = Lanes::quads;
  static constexpr bool kScaled = true, kMins = false, kNans = true;
  static constexpr int kSlicesOfSum = 2, kSums = kSlices / kSlicesOfSum, kScales = 1;
  static constexpr int kBytes = kWarpRows * int(sizeof(float));
  float *scales, *mins = nullptr;
  uint32_t nans[kLaneRows] = {};  // not 0: the row has one

  GPU_FN explicit Weights(std::byte* shared) : scales(reinterpret_cast<float*>(shared)) {}
  GPU_FN void load_header(const std::byte*) {}
  GPU_FN void prepare(const std::byte* stage, int span, int) {
    B bits;
    bits.read(InMemory{stage + span * S::kSize});
    scales[scale_place(lane_of_thread())] = float_from_bits(bits.d[0]);
  }
  template <class F>
  GPU_FN void for_sums(const std::byte* const (&rows)[kLaneRows], int span, F f) {
    GPU_UNROLL
    for (int sum = 0; sum < kSums; ++sum) {
      Fragments a[kSlicesOfSum];
      GPU_UNROLL
      for (int s = 0; s < kSlicesOfSum; ++s) {
        GPU_UNROLL
        for (int j = 0; j < kLaneRows; ++j) {
          const std::byte* from = rows[j] + span * S::kSize + B::kAt + 16 * (sum * kSlicesOfSum + s);
          const uint32_t four = *reinterpret_cast<const uint32_t*>(from + lane_of_thread() % 4 * 4);
          nans[j] |= B::nans_of(four);
          set_row(a[s], j, pair_of_e4m3(four, 0), pair_of_e4m3(four, 2));
        }
      }
      f(sum, a);
    }
  }
};

// 16-bit floats; fp16 as the sum of two bf16.
template <class Block>
struct Weights<Block, true> {
  using S = Stage<Block>;
  static constexpr Lanes kLanes = Lanes::octets;
  static constexpr bool kScaled = false, kMins = false, kNans = false;
  static constexpr int kSlicesOfSum = 2, kSums = kSlices / kSlicesOfSum, kScales = 0, kBytes = 0;

  GPU_FN explicit Weights(std::byte*) {}
  GPU_FN void load_header(const std::byte*) {}
  GPU_FN void prepare(const std::byte*, int, int) {}
  template <class F>
  GPU_FN void for_sums(const std::byte* const (&rows)[kLaneRows], int, F f) {
    GPU_UNROLL
    for (int sum = 0; sum < kSums; ++sum) {
      Fragments a[kSlicesOfSum];
      GPU_UNROLL
      for (int j = 0; j < kLaneRows; ++j) {
        const std::byte* from = rows[j] + 64 * sum + lane_of_thread() % 4 * 16;
        uint32_t eight[4];
        if (reinterpret_cast<size_t>(from) % 16 == 0) {
          load_words<16>(from, eight);
        } else {
          load_staged<2>(from, eight);
        }
        set_row(a[0], j, eight[0], eight[1]);
        set_row(a[1], j, eight[2], eight[3]);
      }
      if constexpr (std::is_same_v<Block, BlockF16>) {
        Fragments low[kSlicesOfSum];
        GPU_UNROLL
        for (int i = 0; i < kSlicesOfSum * 8; ++i) {
          uint32_t& pair = a[i / 8][i / 4 % 2][i % 4];
          split_halves(pair, pair, low[i / 8][i / 4 % 2][i % 4]);
        }
        f(sum, low);
      }
      f(sum, a);
    }
  }
};

}  // namespace hearth::gpu::few
