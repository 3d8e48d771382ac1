// The inner loop of matmul_vec's kernel: rows of weights, piece by piece, times activations.
//
// A warp has four rows, and 16 lanes two of them (gate and up of one row, or two neighbours): what they read of the
// activations is multiplied twice. The bytes of a row are copied by eight lanes, 16 bytes per copy, into two stages in
// turn.
//
// Wavefronts of shared memory for 1024 weights: 10 for activations in an integer format (16 as floats), which lie in
// the order in which lanes read them, so without conflicts, whatever the format; what the units of the format take; and
// the copies.
#pragma once

#include "kernels/cuda/matmul/matmul_vec_job.h"
#include "kernels/cuda/matmul/weight_unit.cuh"

namespace hearth::gpu::vec {

template <class Block>
inline constexpr bool kFloatProducts = kApart<Block> == kFloatRows;

// Formats whose halves of a warp have fewer conflicts in shared memory so, by 1 or 2 wavefronts of some 20 as counted
// (tests/kernels/cuda/counts/formats.txt).
template <class Block>
inline constexpr bool kQuarterApart =
    std::is_same_v<Block, BlockIQ1_S> || std::is_same_v<Block, BlockIQ1_M> || std::is_same_v<Block, BlockTQ2_0> ||
    std::is_same_v<Block, BlockI4_G128> || std::is_same_v<Block, BlockIQ2_KS>;

template <class Block>
struct Piece {
  static constexpr int kElems = Block::kElems, kSize = int(sizeof(Block)), kWeights = Unit<Block>::kWeights;
  static constexpr int kPieceWeights = piece_weights(kElems, kSize);
  static constexpr bool kAligned = kSize % 16 == 0 && kHeaderBytes<Block> % 16 == 0;  // blocks, to 16 bytes
  static constexpr int kUnits = kPieceWeights / kWeights;
  static constexpr int kBytes = kPieceWeights / kElems * kSize;
  // Bytes of a row's slot in shared memory: the piece, at any offset in 16 bytes, and a word after it that load_staged
  // may read. 32 bytes more than a multiple of 64, so that the rows that the halves of a warp read at once, two slots
  // apart, start half of all banks apart; or an odd multiple of 16, a quarter of them.
  static constexpr int kUsed = kBytes + 15 + 4;
  static constexpr int kSlot = kQuarterApart<Block> ? ((kUsed + 15) / 16 | 1) * 16 : (kUsed + 31) / 64 * 64 + 32;
  static_assert(kSlot >= kUsed);
  // The most bytes that are copied, with those of 16 that begin before the piece. (Of an aligned piece kBytes; but with
  // that the compiler takes 3 % more instructions for Q5_K and activations in global memory.)
  static constexpr int kCopied = kAligned ? kSlot : kBytes + 15;
  static constexpr int kStageBytes = 2 * kWarpRows * kSlot;  // both stages of a warp's rows
};

// A warp's four rows on their way through the stages. A lane copies its part of one row, and multiplies two.
template <class Block>
struct Rows {
  using P = Piece<Block>;
  static constexpr int kStage = kWarpRows * P::kSlot;
  const std::byte* next;  // of the row that is copied: the next piece
  int left;               // bytes of the slice from `next` on
  std::byte* to;          // where `next` goes: the lane's place in one stage or the other
  const std::byte* from;  // the first row that is multiplied, in the other
  int to_second;          // from there to the second
  int turn = kStage;      // from one stage to the other, seen from `from`
  // Where two rows differ in alignment, half of their lanes take them in the other order: units of one row's two blocks
  // often lie in the same banks, and then units of two rows less often.
  bool swapped = false;
  int before[kLaneRows] = {};  // bytes before the piece in its first 16 aligned bytes
  RowHeader<Block> header[kLaneRows];

  GPU_FN static int lane() { return lane_of_thread() % 8; }
  GPU_FN static int copied_row() { return lane_of_thread() / 8; }
  GPU_FN int multiplied_row(int i) const { return lane_of_thread() / kLanes * kLaneRows + (swapped ? 1 - i : i); }

  // row(i): row i of the warp; of each `bytes` bytes from `offset` on. Queues the copy of their first piece.
  template <class Row>
  GPU_FN Rows(const Row& row, int offset, int bytes, std::byte* stages)
      : next(row(copied_row()) + offset), left(bytes), to(stages + copied_row() * P::kSlot + 16 * lane()) {
    if constexpr (!P::kAligned) {
      const int skipped = int(reinterpret_cast<size_t>(next) & 15), of_other = __shfl_xor_sync(kAllLanes, skipped, 8);
      swapped = copied_row() % 2 != 0 && skipped != of_other;
      GPU_UNROLL
      for (int i = 0; i < kLaneRows; ++i) before[i] = __shfl_sync(kAllLanes, skipped, 8 * multiplied_row(i));
    }
    from = stages + multiplied_row(0) * P::kSlot;
    to_second = swapped ? -P::kSlot : P::kSlot;
    if constexpr (kHeaderBytes<Block> != 0) {
      GPU_UNROLL
      for (int i = 0; i < kLaneRows; ++i) header[i].load(row(multiplied_row(i)));
    }
    copy();
    to += kStage;
  }

  // Queues the copy of the next piece, if there is one.
  GPU_FN void copy() {
    // Behind the slice no bytes are copied: nobody would wait for them, and the next slice's pieces go there.
    const int skipped = P::kAligned ? 0 : int(reinterpret_cast<size_t>(next) & 15);
    const int end = (left > 0 ? skipped + min(P::kBytes, left) : 0) - 16 * lane();
    const std::byte* bytes = next - skipped + 16 * lane();
    GPU_UNROLL
    for (int i = 0; i < P::kCopied; i += 128) {
      const int n = end - i;
      if (n > 0) cp_async_first(to + i, bytes + i, P::kAligned ? 16 : min(16, n));
    }
    cp_async_commit();
    next += P::kBytes;
    left -= P::kBytes;
  }

  // Between copy() and turn_over(): the piece of one of the rows that are multiplied, and what is left of the slice
  // from there on.
  GPU_FN const std::byte* piece(int i) const { return from + i * to_second + before[i]; }
  GPU_FN int bytes_left() const { return left + 2 * P::kBytes; }

  GPU_FN bool done() const { return left <= -P::kBytes; }
  GPU_FN void turn_over() {
    from += turn;
    to -= turn;
    turn = -turn;
    if constexpr (!P::kAligned) {
      GPU_UNROLL
      for (int i = 0; i < kLaneRows; ++i) before[i] = (before[i] + P::kBytes) & 15;
    }
  }
};

// A lane's sums for its two rows.
using Sums = float[kLaneRows];

// Adds the products of a unit of both rows. The activations for the unit are at x.
template <class Block>
GPU_FN void multiply(const ByteUnit (&unit)[kLaneRows], const std::byte* x, Sums& sums) {
  using U = Unit<Block>;
  const float4 groups = *reinterpret_cast<const float4*>(x + kScalesAt);
  GPU_UNROLL
  for (int h = 0; h < 2; ++h) {
    const std::byte* from = x + h * kHalfBytes;
    int dot[kLaneRows] = {};
    GPU_UNROLL
    for (int part = 0; part < 2; ++part) {  // high bytes, then low ones
      const uint4 q = *reinterpret_cast<const uint4*>(from + part * kLowBytes);
      GPU_UNROLL
      for (int row = 0; row < kLaneRows; ++row) {
        const uint32_t* w = unit[row].q + 4 * h;
        dot[row] = dp4a(w[0], q.x, dot[row] << 8);
        dot[row] = dp4a(w[1], q.y, dot[row]);
        dot[row] = dp4a(w[2], q.z, dot[row]);
        dot[row] = dp4a(w[3], q.w, dot[row]);
      }
    }
    const float scale = h == 0 ? groups.x : groups.z, sum_of_x = h == 0 ? groups.y : groups.w;
    GPU_UNROLL
    for (int row = 0; row < kLaneRows; ++row) {
      float sum = float(dot[row]);  // below 2^27 (and the sum of x below 2^19, exact)
      if constexpr (U::kZero == Zero::offset) sum -= U::offset(h) * sum_of_x;
      sum *= unit[row].scale[h];
      if constexpr (U::kZero == Zero::min) sum -= unit[row].min[h] * sum_of_x;
      sums[row] += sum * scale;
    }
  }
}

GPU_FN void multiply(const FloatUnit (&unit)[kLaneRows], const std::byte* x, Sums& sums) {
  const float4 a = *reinterpret_cast<const float4*>(x);
  const float4 b = *reinterpret_cast<const float4*>(x + kFloatPieceBytes / 2);
  GPU_UNROLL
  for (int row = 0; row < kLaneRows; ++row) {
    const float* w = unit[row].w;
    float sum = w[0] * a.x + w[1] * a.y + w[2] * a.z + w[3] * a.w;
    sum += w[4] * b.x + w[5] * b.y + w[6] * b.z + w[7] * b.w;
    sums[row] += sum * unit[row].scale;
  }
}

// Adds this lane's share of the products of its rows. x: the activations from the first piece on.
template <class Block>
GPU_FN void multiply_rows(Rows<Block>& rows, const std::byte* x, Sums& sums) {
  using P = Piece<Block>;
  const unsigned lane = unsigned(lane_of_thread()) % kLanes;
  x += 16 * lane;
  while (!rows.done()) {
    rows.copy();
    cp_async_wait<1>();
    __syncwarp();
    if constexpr (kFloatProducts<Block>) {
      constexpr unsigned kPerBlock = P::kElems > 1 ? P::kElems / P::kWeights : P::kUnits;
      GPU_UNROLL
      for (unsigned i = 0; i < P::kUnits; i += kLanes) {
        const unsigned u = i + lane;
        const int valid = rows.bytes_left() / P::kSize * P::kElems - int(u) * P::kWeights;
        if (valid > 0) {
          FloatUnit unit[kLaneRows];
          GPU_UNROLL
          for (int row = 0; row < kLaneRows; ++row) {
            Unit<Block>::load(rows.piece(row) + u / kPerBlock * P::kSize, u % kPerBlock, unit[row], valid);
          }
          multiply(unit, x + i / kLanes * kFloatPieceBytes, sums);
        }
      }
      x += P::kUnits / kLanes * kFloatPieceBytes;
    } else {
      static_assert(P::kUnits == kLanes);
      constexpr unsigned kPerBlock = P::kElems / P::kWeights;
      const unsigned block = lane / kPerBlock * P::kSize;
      if (int(block) < rows.bytes_left()) {
        ByteUnit unit[kLaneRows];
        GPU_UNROLL
        for (int row = 0; row < kLaneRows; ++row) {
          Unit<Block>::load(rows.header[row], rows.piece(row) + block, lane % kPerBlock, unit[row]);
        }
        multiply<Block>(unit, x, sums);
      }
      x += kLevelPieceBytes;
    }
    __syncwarp();  // before the copy after the next overwrites what was read
    rows.turn_over();
  }
  if (rows.swapped) {
    const float other = sums[0];
    sums[0] = sums[1];
    sums[1] = other;
  }
}

}  // namespace hearth::gpu::vec
