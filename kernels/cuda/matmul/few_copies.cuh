// A warp's 32 rows of weights on their way into shared memory, for few_kernel.cuh: stages of 256 weights of each row
// (128 of plain floats), two of them in turn, by asynchronous copies of 16 bytes. Eight lanes copy 128 bytes of a row
// at once. What is copied is what is in the file; where rows are not aligned to 16 bytes, the copy starts before them.
#pragma once

#include "kernels/cuda/matmul/decode_iqk.cuh"
#include "kernels/cuda/matmul/few_product.h"

namespace hearth::gpu::few {

template <class Block>
struct Stage {
  static constexpr int kElems = Block::kElems, kSize = int(sizeof(Block));
  static constexpr bool kPlain = kElems == 1;
  static constexpr bool kAligned = kSize % 16 == 0 && kHeaderBytes<Block> % 16 == 0;  // blocks, to 16 bytes
  static constexpr int kSpans = kPlain ? 1 : 2, kWeights = kSpans * kSpan;
  static constexpr int kBytes = kWeights / kElems * kSize;
  // Bytes of a row's slot: the stage, at any offset in 16 bytes, and a word after it that load_staged may read. An odd
  // multiple of 16, so that eight rows start in eight groups of banks; of plain floats, of which lanes read 16 bytes,
  // an odd multiple of 64.
  static constexpr int kWanted = kBytes + (kAligned ? 0 : 15 + 4);
  static constexpr int kSlot = kPlain ? (kWanted + 127) / 128 * 128 - 64 : ((kWanted + 15) / 16 | 1) * 16;
  static_assert(kSlot >= kWanted);
  static constexpr int kStageBytes = kWarpRows * kSlot;
};

template <class Block>
struct Copies {
  using S = Stage<Block>;
  static constexpr int kRowsOfLane = 4;  // of each half of the warp's rows
  const std::byte* next[2];              // of the warp's first 16 rows and of its last 16: the next stage of the first
  uint32_t from[2][kRowsOfLane];         // from there to what the lane copies first of each of its rows
  int left;                              // bytes of the slice from `next` on
  std::byte* to;                         // where `next` goes: the lane's place in one stage or the other

  // first(half): the first of the warp's first or last 16 rows, of which exist[half] exist from there on, at least one
  // of the first; of each the `bytes` bytes from `offset` on. Queues the copy of the first stage.
  template <class First>
  GPU_FN Copies(const First& first, const int (&exist)[2], size_t row_bytes, int offset, int bytes, std::byte* stages)
      : left(bytes) {
    const int lane = lane_of_thread();
    to = stages + lane / 8 * S::kSlot + 16 * place();
    GPU_UNROLL
    for (int half = 0; half < 2; ++half) {
      next[half] = first(exist[half] > 0 ? half : 0) + offset;
      GPU_UNROLL
      for (int i = 0; i < kRowsOfLane; ++i) {  // instead of a row that does not exist another one is copied again
        const int row = max(0, min(lane / 8 + 4 * i, exist[half] - 1));
        // An exchange, because the compiler computes in each turn what it can.
        from[half][i] = __shfl_sync(kAllLanes, uint32_t(row) * uint32_t(row_bytes) + 16 * unsigned(place()), lane);
      }
    }
    copy();
  }

  // Queues the copy of the next stage, if there is one, to `to`.
  GPU_FN void copy() {
    if (!S::kAligned && left >= S::kBytes + 32) {  // whole pieces of 16 bytes are the row's
      copy_rows([&](std::byte* slot, const std::byte* row, int i, int) {
        if (i + 128 <= S::kBytes || i + 16 * place() < S::kBytes + 15) cp_async_16(slot + i, row + i);
      });
    } else if (left > 0) {
      const int bytes = min(S::kBytes, left) - 16 * place();
      copy_rows([&](std::byte* slot, const std::byte* row, int i, int skipped) {
        if constexpr (S::kAligned) {
          if (i < bytes) cp_async_16(slot + i, row + i);
        } else if (i + 128 <= S::kSlot ||
                   i + 16 * place() < S::kSlot) {  // behind the row zeros: plain floats need them
          cp_async_first(slot + i, row + i, max(0, min(16, skipped + bytes - i)));
        }
      });
    }
    cp_async_commit();
    left -= S::kBytes;
  }

 private:
  GPU_FN static int place() { return lane_of_thread() % 8; }

  // Calls piece(slot, row, i, skipped) for i = 0, 128, .. of the lane's place in each of its rows: the piece from i on.
  template <class F>
  GPU_FN void copy_rows(F piece) {
    GPU_UNROLL
    for (int half = 0; half < 2; ++half) {
      GPU_UNROLL
      for (int row = 0; row < kRowsOfLane; ++row) {
        const std::byte* const bytes = next[half] + from[half][row];
        const int skipped = S::kAligned ? 0 : int(reinterpret_cast<size_t>(bytes) & 15);
        GPU_UNROLL
        for (int i = 0; i < S::kSlot; i += 128)
          piece(to + (16 * half + 4 * row) * S::kSlot, bytes - skipped, i, skipped);
      }
      next[half] += S::kBytes;
    }
  }
};

}  // namespace hearth::gpu::few
