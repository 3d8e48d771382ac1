// The arguments of a launch of matmul_vec's kernel (matmul_vec_kernel.cuh), and the layout of activations in memory.
#pragma once

#include "kernels/cuda/kernel.h"
#include "kernels/rounding.h"
#include "quant/format.h"

namespace hearth::gpu::vec {

inline constexpr int kThreads = 256, kWarps = 8, kWarpRows = 4, kMaxColumns = 8;

// "Prepared" activations: a row in the form that the inner loop reads, aligned to 16.
//   for integer formats  [k] int8 high, [k] int8 low, then [k / 16] of {scale, sum of the 16 integers}: x is about
//                        scale * q, q = 256 high + low
//   for float formats    [k, rounded up to 8] float, the last ones zero
struct alignas(8) GroupScale {
  float scale, sum;
};
inline HEARTH_HD int64_t prepared_bytes(bool floats, int64_t k) {
  return floats ? (k + 7) / 8 * 32 : 2 * k + k / 16 * int64_t(sizeof(GroupScale));
}

// Weights in a piece; rows are staged piece by piece. 512 weights in whole blocks, or 512 bytes of plain floats.
inline HEARTH_HD constexpr int piece_weights(int block_elems, int block_bytes) {
  return block_elems > 1 ? 512 : 512 / block_bytes;
}

// A stack of matrices: of experts, or of matrices that all tokens use.
struct Stack {
  const std::byte* weights[2] = {};  // gate and up; or one matrix, and null
  size_t row_bytes = 0;
  size_t matrix_stride[2] = {};
  int n = 0, k = 0;
  int slices = 1;  // slices of k, each one job of the sum; at most as many as there are pieces

  const std::byte* rows = nullptr;  // prepared activations
  bool hidden_floats = false;       // whether hidden rows are prepared as floats
  std::byte* hidden = nullptr;      // gated: where the hidden rows go
  float* gate_only = nullptr;       // gated in two launches: [rows, n] of gate; the second has `up` in weights[0]
};

struct Job {
  bool gated = false;
  Stack dense, experts;  // either may be absent (n == 0)
  int n_tokens = 0;
  int n_activated = 0;                // 0: no experts
  const int32_t* ids = nullptr;       // [T, K]
  const int32_t* slots = nullptr;     // [E] an expert's matrix, negative: left out; null: expert e is matrix e
  const float* weights = nullptr;     // [T, K]
  const float* x = nullptr;           // activations that each block prepares; null: Stack::rows are prepared already
  int64_t x_token = 0, x_matrix = 0;  // strides of x, in values
  bool gate_second = false;           // second of two gated launches: gate_only is read, not written
  float* y = nullptr;
  int64_t y_token = 0, y_matrix = 0;
  bool add = false;  // y += instead of y =
  int split = 1;     // warps that share rows: 1, 2, 4 or 8

  HEARTH_HD int n_pairs() const { return n_tokens * n_activated; }
};

// Queue a launch for weights of one format; own_row_bytes is the size of the activations that each block prepares
// itself. False: the format is not of that family.
bool launch_floats(FormatId id, const Job& job, dim3 grid, int64_t own_row_bytes, const Queue& queue);
bool launch_small_blocks(FormatId id, const Job& job, dim3 grid, int64_t own_row_bytes, const Queue& queue);
bool launch_large_blocks(FormatId id, const Job& job, dim3 grid, int64_t own_row_bytes, const Queue& queue);
bool launch_codebooks(FormatId id, const Job& job, dim3 grid, int64_t own_row_bytes, const Queue& queue);
bool launch_iqk(FormatId id, const Job& job, dim3 grid, int64_t own_row_bytes, const Queue& queue);

}  // namespace hearth::gpu::vec
