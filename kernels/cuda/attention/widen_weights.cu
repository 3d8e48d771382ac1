// k_b [H, r, nope] (stored transposed) and v_b [H, v, r] in any format -> bf16 [H, nope + v, r], each width rounded up
// to 16 with zeros, for expand_latents.
//
// A block takes 32 rows x 64 columns, a thread 8 weights; k_b is transposed in shared memory. Bound: writing, 0.26 MB
// per head, which matters little once per call of hundreds of tokens.
#include "kernels/cuda/attention/expand_latents.h"
#include "kernels/cuda/formats.cuh"
#include "kernels/cuda/kernel.h"

namespace hearth::gpu {
namespace {

constexpr int kRows = 32, kColumns = 64, kRun = 8, kThreads = kRows * kColumns / kRun;

struct Widening {
  Weight from;
  bool transpose;
  int rows, columns;  // rows and columns of `from`, each rounded up to 16
  uint16_t* to;       // [H, to_rows, to_columns], from the first row that is written
  int to_rows, to_columns;
};

template <class Block>
__global__ void __launch_bounds__(kThreads) widen(Widening w) {
  GPU_SHARED(uint16_t, turned, kColumns * (kRows + 2));
  const int h = int(blockIdx.z), thread = int(threadIdx.x);
  const int first_row = int(blockIdx.y) * kRows, first_column = int(blockIdx.x) * kColumns;
  const int i = thread / (kColumns / kRun), j = thread % (kColumns / kRun) * kRun;
  const int row = first_row + i, column = first_column + j;
  uint16_t* to = w.to + int64_t(h) * w.to_rows * w.to_columns;

  uint32_t pairs[kRun / 2] = {};
  if (row < w.from.n) {
    const std::byte* from = w.from.data + h * w.from.matrix_stride + row * w.from.row_bytes;
    const auto value = [&](int c) { return c < w.from.k ? weight_at<Block>(from, c) : 0.0f; };
    GPU_UNROLL
    for (int e = 0; e < kRun; e += 2) pairs[e / 2] = pack_bf16(value(column + e), value(column + e + 1));
  }
  if (!w.transpose) {
    if (row < w.rows && column < w.columns) {
      *reinterpret_cast<uint4*>(to + int64_t(row) * w.to_columns + column) =
          uint4{pairs[0], pairs[1], pairs[2], pairs[3]};
    }
    return;
  }
  GPU_UNROLL
  for (int e = 0; e < kRun; ++e) turned[(j + e) * (kRows + 2) + i] = uint16_t(pairs[e / 2] >> 16 * (e % 2));
  __syncthreads();
  for (int c = warp_of_thread(); c < kColumns; c += kThreads / 32) {
    const int to_row = first_column + c, to_column = first_row + lane_of_thread();
    if (to_row < w.columns && to_column < w.rows) {
      to[int64_t(to_row) * w.to_columns + to_column] = turned[c * (kRows + 2) + lane_of_thread()];
    }
  }
}

void widen_one(const Queue& queue, const Widening& w) {
  const dim3 grid(unsigned((w.columns + kColumns - 1) / kColumns), unsigned((w.rows + kRows - 1) / kRows),
                  unsigned(w.from.count));
  with_block(w.from.format->id,
             [&]<class Block>() { launch("widen_weights", widen<Block>, grid, dim3(kThreads), 0, queue, w); });
}

}  // namespace

void widen_weights(const Queue& queue, const ExpandedWidths& widths, const Weight& k_b, const Weight& v_b,
                   uint16_t* weights) {
  const int rows = widths.columns(), columns = widths.padded_r;
  widen_one(queue, {k_b, true, widths.padded_r, widths.padded_nope, weights, rows, columns});
  widen_one(queue,
            {v_b, false, widths.padded_v, widths.padded_r, weights + widths.padded_nope * columns, rows, columns});
}

}  // namespace hearth::gpu
