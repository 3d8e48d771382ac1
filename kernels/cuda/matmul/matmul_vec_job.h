// The arguments of a launch of matmul_vec's kernel (matmul_vec_kernel.cuh), and the layout of activations in memory.
#pragma once

#include "kernels/cuda/attention/mla_pieces.h"
#include "kernels/cuda/matmul/rounded_row.h"
#include "kernels/cuda/queue.h"
#include "kernels/ops.h"
#include "quant/format.h"

namespace hearth::gpu::vec {

inline constexpr int kThreads = 256, kWarps = 8, kWarpRows = 4;
inline constexpr int kPartBytes = kWarps * kWarpRows * int(sizeof(float));  // sums of rows in shared memory

// 16 lanes have two rows of weights, for the same activations. A lane takes a unit of each at a time: 32 weights of an
// integer format (weight_unit.cuh), or 8 floats.
inline constexpr int kLanes = 16, kLaneRows = 2;

// "Prepared" activations: a row in the order in which those lanes read it, aligned to 16, so that what they read at
// once lies side by side.
//   for floats           pieces of 128: [2 halves of a unit][16 lanes][4] float
//   for integer formats  pieces of 512: [2 halves of a unit][high, low][16 lanes][16] int8, then
//                        [16 lanes][2 halves] of {scale, sum of the 16 integers}: x is about scale * q,
//                        q = 256 high + low
// The last piece is whole; what lies behind the row in it is anything, but for the rest of a unit of floats, zeros.
// Which halves a unit has: groups k and k + apart of 16 neighbours (Bits::kApart, a power of two). kFloatRows: no
// groups.
using Apart = int;
inline constexpr Apart kFloatRows = 0;
inline constexpr int kFloatPiece = 8 * kLanes, kLevelPiece = 32 * kLanes;  // activations
inline constexpr int kFloatPieceBytes = 4 * kFloatPiece, kLevelPieceBytes = 1280;
inline constexpr int kHalfBytes = 32 * kLanes, kLowBytes = 16 * kLanes, kScalesAt = 2 * kHalfBytes;  // in kLevelPiece
static_assert(kLevelPieceBytes == kScalesAt + 2 * kLanes * int(sizeof(GroupScale)));

inline HEARTH_HD int64_t prepared_bytes(Apart apart, int64_t k) {
  return apart == kFloatRows ? (k + kFloatPiece - 1) / kFloatPiece * kFloatPieceBytes
                             : (k + kLevelPiece - 1) / kLevelPiece * kLevelPieceBytes;
}
// Of whichever is larger.
inline HEARTH_HD int64_t most_prepared_bytes(int64_t k) {
  return (k + kLevelPiece - 1) / kLevelPiece * (4 * kLevelPiece);
}

// Where value i of a row of floats is, in values.
inline HEARTH_HD unsigned float_at(unsigned i) {
  return i / kFloatPiece * kFloatPiece + i / 4 % 2 * (4 * kLanes) + i / 8 % kLanes * 4 + i % 4;
}
// A group of 16: half h of unit u in its row. Its high bytes are at level_at, the low ones kLowBytes behind.
struct GroupPlace {
  unsigned u, h;

  HEARTH_HD static GroupPlace of(unsigned group, unsigned apart) {
    return {(group - (group & apart) + (group & (apart - 1))) / 2, group & apart ? 1u : 0u};
  }
  HEARTH_HD unsigned group(unsigned apart) const { return 2 * u - (u & (apart - 1)) + h * apart; }
  HEARTH_HD unsigned level_at() const { return u / kLanes * kLevelPieceBytes + h * kHalfBytes + u % kLanes * 16; }
  HEARTH_HD unsigned scale_at() const {
    return u / kLanes * kLevelPieceBytes + kScalesAt + (u % kLanes * 2 + h) * unsigned(sizeof(GroupScale));
  }
};

// Weights in a piece; rows are staged piece by piece. 512 weights in whole blocks, or 512 bytes of plain floats.
inline HEARTH_HD constexpr int piece_weights(int block_elems, int block_bytes) {
  return block_elems > 1 ? 512 : 512 / block_bytes;
}

// What a stack of matrices is multiplied with: a row of activations for each matrix, or for each chosen expert.
struct Input {
  const std::byte* rows = nullptr;  // prepared; null: each block prepares its own row, which is one of
  const float* x = nullptr;         // x [n_matrices, k],
  int64_t x_matrix = 0;
  const std::byte* rounded = nullptr;  // the same, one row (RoundedRow): integer formats copy it,
  // one row normalised, norm * (x + add) / sqrt(mean((x + add)^2) + eps), where there is a norm; add may be null,
  const float *norm = nullptr, *add = nullptr;
  float eps = 0;
  // or what attention has left of each head, where there are pieces to merge: k is at most kMaxMerged.
  MlaPieces pieces;
};
// Values of a merged row, four for each thread of half a block; its pieces, two for each lane of a warp.
inline constexpr int kMaxMerged = 512, kMaxPieces = 64;

// Where the row of a product goes.
enum class Output : uint8_t {
  floats,    // y [n_matrices, n]
  rotated,   // y [n], of whose heads the last part is rotated
  latent,    // y [r + dr], and from there into the cache
  prepared,  // for the launch that multiplies it: n_matrices times n values as one row
};

// A stack of matrices: one, or one for each head or expert.
struct Stack {
  const std::byte* weights[2] = {};  // gate and up; or one matrix, and null
  size_t row_bytes = 0;
  size_t matrix_stride[2] = {};
  int n = 0, k = 0;
  int slices = 1;  // of matrices that are not experts: slices of k, each one job of the sum; at most as many as pieces
  FormatId format = FormatId::f32;
  Input input;

  Output output = Output::floats;
  float* y = nullptr;
  int64_t y_matrix = 0;
  Apart prepared_apart = kFloatRows;  // what rows are prepared for
  std::byte* prepared = nullptr;      // gated, or Output::prepared: where they go
  float* gate_only = nullptr;         // gated in two launches: [rows, n] of gate; the second has `up` in weights[0]
};

// Rotates the last rope_dim values of each head.
struct Rotation {
  RopeTable table;
  const int32_t* position = nullptr;
  int head_dim = 0;
};

// The row of the latent cache that follows from y.
struct LatentRow {
  const float* norm = nullptr;
  float eps = 0;
  RopeTable table;
  LatentCache cache;
  Positions at;
  unsigned* finished = nullptr;  // the launch's blocks that are done; zero before it and after it
};

enum class Kind : uint8_t {
  product,  // y = W x of `dense` and, by other blocks, of `beside`
  gated,    // silu(gate x) * up x of `dense` and, by other blocks, of the chosen of `experts`: hidden rows
  sum,      // y = (or +=) the product of `dense` and, by the same blocks, those of the chosen of `experts`
};

struct Job {
  Kind kind = Kind::product;
  Stack dense, beside, experts;    // any may be absent (n == 0)
  unsigned beside_from = ~0u;      // blockIdx.x from which on blocks have `beside`
  int n_activated = 0;             // 0: no experts
  const int32_t* ids = nullptr;    // [K]
  const int32_t* slots = nullptr;  // [E] an expert's matrix, negative: left out; null: expert e is matrix e
  const float* weights = nullptr;  // [K]
  bool gate_second = false;        // second of two gated launches: gate_only is read, not written
  bool add = false;                // sum: y += instead of y =
  int split_bits = 0;   // 1 << split_bits warps share rows, 1, 2, 4 or 8: divisions would delay the first copy
  int turns = 1;        // product: how many times as many rows a block has, one set after the other
  int stage_bytes = 0;  // of each warp, for the formats at hand
  Rotation rotation;
  LatentRow latent;

  HEARTH_HD int split() const { return 1 << split_bits; }
};

// Shared memory in which a block prepares a row: the row, and for merging the other half's sums.
inline HEARTH_HD int64_t own_row_bytes(const Input& input, Apart apart, int64_t k) {
  return prepared_bytes(apart, k) + (input.pieces.n > 0 ? kMaxMerged * int64_t(sizeof(float)) : 0);
}

// Queue a launch for matrices of one format, or of different ones; in_shared: blocks prepare their rows. False: the
// format is not of that family.
bool launch_floats(FormatId id, const Job& job, dim3 grid, size_t shared_bytes, bool in_shared, const Queue& queue);
bool launch_small_blocks(FormatId id, const Job& job, dim3 grid, size_t shared_bytes, bool in_shared,
                         const Queue& queue);
bool launch_large_blocks(FormatId id, const Job& job, dim3 grid, size_t shared_bytes, bool in_shared,
                         const Queue& queue);
bool launch_codebooks(FormatId id, const Job& job, dim3 grid, size_t shared_bytes, bool in_shared, const Queue& queue);
bool launch_iqk(FormatId id, const Job& job, dim3 grid, size_t shared_bytes, bool in_shared, const Queue& queue);
void launch_mixed(const Job& job, dim3 grid, size_t shared_bytes, bool in_shared, const Queue& queue);

}  // namespace hearth::gpu::vec
