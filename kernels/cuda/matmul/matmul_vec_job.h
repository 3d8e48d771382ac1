// What a launch of matmul_vec's kernel is told, and how activations lie in memory for it (matmul_vec_kernel.cuh).
#pragma once

#include "kernels/cuda/kernel.h"
#include "quant/format.h"

namespace hearth::gpu::vec {

inline constexpr int kThreads = 256, kWarps = 8, kWarpRows = 4, kMaxColumns = 8;

// "Prepared" activations: a row as the inner loop reads it, aligned to 16.
//   for integer formats  [k] int8 high, [k] int8 low, then [k / 16] of {scale, sum of the 16 integers}: x is about
//                        scale * q, q = 256 high + low
//   for float formats    [k, rounded up to 8] float, the last ones zero
struct alignas(8) GroupScale {
  float scale, sum;
};
inline HEARTH_HD int64_t prepared_bytes(bool floats, int64_t k) {
  return floats ? (k + 7) / 8 * 32 : 2 * k + k / 16 * int64_t(sizeof(GroupScale));
}

// Rows are staged in pieces of whole blocks, about half a KiB.
inline HEARTH_HD constexpr int piece_weights(int block_elems, int block_bytes) {
  return block_elems > 1 ? 512 : 512 / block_bytes;
}

// One stack of matrices, of experts or of those that all tokens use.
struct Stack {
  const std::byte* weights[2] = {};  // gate and up; or one, and null
  size_t row_bytes = 0;
  size_t matrix_stride[2] = {};
  int n = 0, k = 0;
  int slices = 1;  // of k, each a job of a sum; no more than there are pieces

  const std::byte* rows = nullptr;  // prepared activations
  bool hidden_floats = false;       // how to prepare the hidden rows
  std::byte* hidden = nullptr;      // gated: where to
  float* gate_only = nullptr;       // gated in two launches: [rows, n] of gate; the second has `up` in weights[0]
};

struct Job {
  bool gated = false;
  Stack dense, experts;  // either may be absent (n == 0)
  int n_tokens = 0;
  int n_activated = 0;                // 0: no experts
  const int32_t* ids = nullptr;       // [T, K]
  const int32_t* slots = nullptr;     // [E] which matrix an expert is, negative: left out; null: its own
  const float* weights = nullptr;     // [T, K]
  const float* x = nullptr;           // what the block itself prepares; null: Stack::rows are prepared
  int64_t x_token = 0, x_matrix = 0;  // strides
  bool gate_second = false;           // gate_only is read, not written
  float* y = nullptr;
  int64_t y_token = 0, y_matrix = 0;
  bool add = false;  // y += instead of y =
  int split = 1;     // warps that share rows: 1, 2, 4 or 8

  HEARTH_HD int n_pairs() const { return n_tokens * n_activated; }
};

// Queue a launch for weights of one format; own_row_bytes: of the activations that a block prepares itself. False: the
// format is not of that family.
bool launch_floats(FormatId id, const Job& job, dim3 grid, int64_t own_row_bytes, const Queue& queue);
bool launch_small_blocks(FormatId id, const Job& job, dim3 grid, int64_t own_row_bytes, const Queue& queue);
bool launch_large_blocks(FormatId id, const Job& job, dim3 grid, int64_t own_row_bytes, const Queue& queue);

}  // namespace hearth::gpu::vec
