// The kernel of all operations of matmul_vec.h: rows of weights times few columns of activations.
//
// A block has 8 warps, a warp 4 rows (or 2 of gate and the same 2 of up), a row 8 lanes. The bytes of a row are copied
// into shared memory asynchronously, 16 bytes per copy, the next piece while this one is multiplied: copies are
// coalesced and aligned whatever the size of the format's blocks (18 or 210 bytes), and bytes in flight need no
// registers. Of a piece, a lane takes every 8th unit (weight_unit.cuh), unpacks it once and multiplies it with every
// column: weights of an integer format by dp4a with activations in 16 bits, as two bytes each; float weights in float.
// The four rows of a warp need the same activations at the same time, so reads of those are broadcast.
//
// The work on a row is divided into jobs: slices of k, or the chosen experts. The warps of a block that have the same
// rows take turns at the jobs; their sums are added in shared memory, in an order that does not depend on timing. There
// are two kinds of launches:
//   gated  silu(gate x) * up x of one expert or of the shared ones -> hidden rows, prepared for the next launch;
//   sum    y = the sum over all jobs, each weighted as the router says.
//
// Bound: the bytes of the weights, if there are not too many instructions. At an H200's memory bandwidth a
// multiprocessor has time for about 3.5 instructions for each weight of 4.5 bits, 5 for each of 6.5. For sm_90 the
// compiler makes 3.9 for a Q4_K weight with one column (3.1 in the unit, the rest in staging), 5.0 for a Q6_K one, and
// 12 to 13 with eight columns. So one column takes about as long as the bytes do, and eight columns about three times
// as long. Activations of 8 bits would save 0.4 instructions for each column, and cost the accuracy that
// docs/measurements.md shows. Not run on a GPU yet.
#pragma once

#include <type_traits>

#include "kernels/cuda/matmul/matmul_vec_prepare.cuh"
#include "kernels/cuda/matmul/weight_unit.cuh"

namespace hearth::gpu::vec {

template <class Block>
inline constexpr bool kFloatProducts = Bits<Block>::kFloats;

template <class Block>
struct Piece {
  static constexpr int kElems = Block::kElems, kSize = int(sizeof(Block)), kWeights = Unit<Block>::kWeights;
  static constexpr int kPieceWeights = piece_weights(kElems, kSize);
  static constexpr bool kAligned = kSize % 16 == 0 && kHeaderBytes<Block> % 16 == 0;  // blocks, to 16 bytes
  static constexpr int kUnits = kPieceWeights / kWeights;
  static constexpr int kBytes = kPieceWeights / kElems * kSize;
  // Bytes of a row's slot in shared memory: the piece, at any offset in 16 bytes, and a word after it that load_staged
  // may read. An odd multiple of 16, so that rows start in different banks.
  static constexpr int kSlot = ((kBytes + 15 + 4 + 15) / 16 | 1) * 16;
  static constexpr int kStageBytes = 2 * kWarpRows * kSlot;  // both stages of a warp's rows
};

inline constexpr int kPartBytes = kWarps * kWarpRows * kMaxColumns * int(sizeof(float));

template <class Block>
size_t shared_bytes(int64_t prepared) {
  return size_t(kWarps) * Piece<Block>::kStageBytes + kPartBytes + size_t(prepared);
}

// ---- The inner loop

// Copies a row's bytes to its slots in shared memory: the part of one of the row's eight lanes.
template <class Block>
struct Feed {
  using P = Piece<Block>;
  const std::byte* next;  // the next piece in the row
  int left;               // bytes of the slice from `next` on
  std::byte* slot;        // where `next` goes: the row's slot of one stage, then of the other, in turn
  int to_other;

  GPU_FN Feed(const std::byte* row, int bytes, std::byte* slot)
      : next(row), left(bytes), slot(slot), to_other(kWarpRows * P::kSlot) {}

  // Queues the copy of the next piece, if there is one. Returns where the piece will be.
  GPU_FN const std::byte* copy() {
    // Bytes before the piece in its first 16 aligned bytes; none where blocks are aligned to 16. Behind the slice they
    // are not copied either: nobody would wait for it, and the next slice's pieces go there.
    const int before = P::kAligned ? 0 : int(reinterpret_cast<size_t>(next) & 15);
    const int end = left > 0 ? before + min(P::kBytes, left) : 0, mine = 16 * (lane_of_thread() % 8);
    const std::byte* from = next - before + mine;
    std::byte* to = slot + mine;
    GPU_UNROLL
    for (int i = 0; i < P::kSlot; i += 128) {
      const int n = end - mine - i;
      if (n > 0) cp_async_first(to + i, from + i, P::kAligned ? 16 : min(16, n));
    }
    cp_async_commit();
    const std::byte* piece = slot + before;
    next += P::kBytes;
    left -= P::kBytes;
    slot += to_other;
    to_other = -to_other;
    return piece;
  }
};

// Adds the products of a unit with every column. Column c's activations are at rows + column[c]; `at` is the unit's
// first weight in the row.
template <class Block, int NT>
GPU_FN void multiply(const ByteUnit& unit, unsigned at, unsigned k, const std::byte* rows, const int (&column)[NT],
                     int n, float (&sums)[NT]) {
  using U = Unit<Block>;
  const std::byte* q = rows + at;
  const std::byte* scales = rows + (2 * k + at / 2);  // 8 bytes for 16 weights
  GPU_UNROLL
  for (int c = 0; c < NT; ++c) {
    if (NT > 1 && c >= n) break;
    GPU_UNROLL
    for (int h = 0; h < 2; ++h) {
      const std::byte* from = q + column[c] + h * U::kDistance;
      int dot = 0;
      GPU_UNROLL
      for (int part = 0; part < 2; ++part) {  // high bytes, then low ones
        const uint4 x = *reinterpret_cast<const uint4*>(from + part * k);
        dot = dp4a(unit.q[4 * h], x.x, dot << 8);
        dot = dp4a(unit.q[4 * h + 1], x.y, dot);
        dot = dp4a(unit.q[4 * h + 2], x.z, dot);
        dot = dp4a(unit.q[4 * h + 3], x.w, dot);
      }
      const auto group = *reinterpret_cast<const float2*>(scales + column[c] + h * U::kDistance / 2);
      const float scale = group.x, sum_of_x = group.y;
      float sum = float(dot);  // below 2^27 (and the sum of x below 2^19, exact)
      if constexpr (U::kZero == Zero::offset) sum -= float(U::kOffset) * sum_of_x;
      sum *= unit.scale[h];
      if constexpr (U::kZero == Zero::min) sum -= unit.min[h] * sum_of_x;
      sums[c] += sum * scale;
    }
  }
}

template <class Block, int NT>
GPU_FN void multiply(const FloatUnit& unit, unsigned at, unsigned, const std::byte* rows, const int (&column)[NT],
                     int n, float (&sums)[NT]) {
  const std::byte* from = rows + 4 * at;
  GPU_UNROLL
  for (int c = 0; c < NT; ++c) {
    if (NT > 1 && c >= n) break;
    const auto* x = reinterpret_cast<const float4*>(from + column[c]);
    const float4 a = x[0], b = x[1];
    float sum = unit.w[0] * a.x + unit.w[1] * a.y + unit.w[2] * a.z + unit.w[3] * a.w;
    sum += unit.w[4] * b.x + unit.w[5] * b.y + unit.w[6] * b.z + unit.w[7] * b.w;
    sums[c] += sum * unit.scale;
  }
}

// Adds this lane's share of the products of weights begin .. end - 1 of a row of k, whose first piece is being copied
// to `piece`. Unsigned numbers, since the compiler divides these by powers of two in one instruction.
template <class Block, int NT>
GPU_FN void multiply_slice(const RowHeader<Block>& header, Feed<Block>& feed, const std::byte* piece, unsigned begin,
                           unsigned end, unsigned k, const std::byte* rows, const int (&column)[NT], int n,
                           float (&sums)[NT]) {
  using P = Piece<Block>;
  for (unsigned at = begin; at < end; at += P::kPieceWeights) {
    const std::byte* next = feed.copy();
    cp_async_wait<1>();
    __syncwarp();
    const unsigned units = (min(unsigned(P::kPieceWeights), end - at) + P::kWeights - 1) / P::kWeights;
    for (unsigned u = unsigned(lane_of_thread()) % 8; u < units; u += 8) {
      if constexpr (kFloatProducts<Block>) {
        constexpr unsigned kPerBlock = P::kElems > 1 ? P::kElems / P::kWeights : P::kUnits;
        FloatUnit unit;
        const unsigned first = at + u * P::kWeights;
        Unit<Block>::load(piece + u / kPerBlock * P::kSize, u % kPerBlock, unit, int(k - first));
        multiply<Block, NT>(unit, first, k, rows, column, n, sums);
      } else {
        constexpr unsigned kPerBlock = P::kElems / P::kWeights;
        ByteUnit unit;
        Unit<Block>::load(header, piece + u / kPerBlock * P::kSize, u % kPerBlock, unit);
        const unsigned first = at + u / kPerBlock * P::kElems + Unit<Block>::first(u % kPerBlock);
        multiply<Block, NT>(unit, first, k, rows, column, n, sums);
      }
    }
    __syncwarp();  // before the copy after the next overwrites what was read
    piece = next;
  }
}

// ---- The columns that are multiplied with a matrix

// n columns; lane c < n has column c's token and the number of its row of activations (for experts: the pair t K + j).
struct Columns {
  int n, token, row;
};

GPU_FN Columns all_columns(int n_tokens) {
  return {n_tokens, lane_of_thread(), lane_of_thread()};
}

// The tokens that chose the expert of a pair, if this is the first pair with that expert; otherwise none. (If a token
// had chosen an expert twice, the second choice would be handled by itself.)
GPU_FN Columns columns_of_pair(const int32_t* ids, int n_tokens, int n_activated, int pair) {
  const int lane = lane_of_thread(), expert = ids[pair];
  int place = -1;  // place of the expert among those that token `lane` chose
  if (lane < n_tokens) {
    for (int j = n_activated - 1; j >= 0; --j) {
      if (ids[lane * n_activated + j] == expert) place = j;
    }
  }
  unsigned tokens = __ballot_sync(kAllLanes, place >= 0);
  const int token = pair / n_activated, first = __shfl_sync(kAllLanes, place, token);
  const bool again = pair % n_activated != first;
  if (again) {
    tokens = 1u << token;
    place = pair % n_activated;
  } else if ((tokens & ((1u << token) - 1)) != 0) {
    tokens = 0;
  }
  Columns columns{__popc(tokens), 0, 0};
  for (int t = 0, c = 0; t < n_tokens; ++t) {
    if ((tokens >> t & 1) == 0) continue;
    if (c == lane) columns.token = t;
    ++c;
  }
  columns.row = columns.token * n_activated + __shfl_sync(kAllLanes, place, columns.token);
  return columns;
}

// ---- The kernel

// Adds the lanes' sums of each column, times the column's weight, to the warp's part: [4 rows][8 columns] floats.
template <int NT>
GPU_FN void add_to_part(float (&sums)[NT], int n, int place, float weight, float* part) {
  const int lane = lane_of_thread(), mine = lane % 8;
  float value = 0;
  GPU_UNROLL
  for (int c = 0; c < NT; ++c) {
    if (c >= n) break;
    sums[c] = warp_sum<8>(sums[c]);
    if (c == mine) value = sums[c];
  }
  if (mine < n) part[lane / 8 * kMaxColumns + place] += weight * value;
}

// y from the parts of all warps; each job.split warps have the same rows.
GPU_FN void store_sum(const Job& job, const float* parts, int first_row, int n, int matrix) {
  const int rows = kWarps / job.split * kWarpRows, thread = int(threadIdx.x);
  const int r = thread % rows, t = thread / rows, row = first_row + r;
  if (t >= job.n_tokens || row >= n) return;
  float sum = 0;
  for (int s = 0; s < job.split; ++s) {
    sum += parts[((r / kWarpRows * job.split + s) * kWarpRows + r % kWarpRows) * kMaxColumns + t];
  }
  float& y = job.y[t * job.y_token + matrix * job.y_matrix + row];
  y = job.add ? y + sum : sum;
}

// Stores the hidden rows, prepared for the launch that multiplies them with down. 16 lanes have the 16 values of a
// group.
GPU_FN void store_hidden(const Job& job, const Stack& stack, const float* parts, int first_row, Columns columns) {
  const bool pair = stack.weights[1] != nullptr;
  const int rows = pair ? 16 : 32, thread = int(threadIdx.x);
  const int r = thread % rows, c = thread / rows, row = first_row + r;
  const int64_t to = __shfl_sync(kAllLanes, columns.row, c % 8);
  const bool there = c < columns.n && row < stack.n;
  float gate = 0, up = 0;
  if (pair) {
    const float* part = parts + (r / 2 * kWarpRows + r % 2) * kMaxColumns + c % 8;
    gate = part[0];
    up = part[2 * kMaxColumns];
  } else {
    up = parts[r * kMaxColumns + c % 8];
    if (there && !job.gate_second) stack.gate_only[to * stack.n + row] = up;
    if (!job.gate_second) return;
    if (there) gate = stack.gate_only[to * stack.n + row];
  }
  const float hidden[1] = {there ? gate / (1 + exp_fast(-gate)) * up : 0.0f};
  std::byte* out = stack.hidden + to * prepared_bytes(stack.hidden_floats, stack.n);
  if (stack.hidden_floats) {
    if (c < columns.n && row < (stack.n + 7) / 8 * 8) reinterpret_cast<float*>(out)[row] = hidden[0];
    return;
  }
  int q[1];
  const GroupScale group = quantize<16>(hidden, q);
  if (!there) return;
  reinterpret_cast<uint8_t*>(out)[row] = uint8_t(high_byte(q[0]));
  reinterpret_cast<uint8_t*>(out)[stack.n + row] = uint8_t(low_byte(q[0]));
  if (row % 16 == 0) reinterpret_cast<GroupScale*>(out + 2 * stack.n)[row / 16] = group;
}

// With three blocks a thread has 80 registers, one too few for Q3_K's decoder and several for lookups in long tables.
template <class Block>
inline constexpr bool kManyRegisters = std::is_same_v<Block, BlockQ3_K> || requires {
  typename Block::Levels;
};
template <class Block, int NT>
inline constexpr int kBlocksPerProcessor = NT == 1 && !kManyRegisters<Block> ? 3 : 2;

template <class Block, int NT>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor<Block, NT>)
    vec_kernel(const __grid_constant__ Job job) {
  using P = Piece<Block>;
  GPU_DYNAMIC_SHARED(std::byte, shared);
  const int warp = warp_of_thread(), lane = lane_of_thread(), slot = lane / 8;
  auto* parts = reinterpret_cast<float*>(shared + kWarps * P::kStageBytes);
  std::byte* own_rows = shared + kWarps * P::kStageBytes + kPartBytes;
  float* part = parts + warp * kWarpRows * kMaxColumns;
  part[lane] = 0;
  __syncwarp();

  // The rows of this block and this warp. In gated launches the blocks of experts come first, pair by pair, then the
  // dense ones.
  const bool two = job.gated && (job.dense.n > 0 ? job.dense : job.experts).weights[1] != nullptr;
  const int warp_rows = two ? 2 : kWarpRows, block_rows = kWarps / job.split * warp_rows;
  int block = int(blockIdx.x), pair = -1;
  if (job.gated && job.experts.n > 0) {
    const int of_pair = (job.experts.n + block_rows - 1) / block_rows;
    if (block < of_pair * job.n_pairs()) {
      pair = block / of_pair;
      block %= of_pair;
    } else {
      block -= of_pair * job.n_pairs();
    }
  }
  const int block_row = block * block_rows;
  const int row_in_block = warp / job.split * warp_rows + slot % warp_rows, which = slot / warp_rows;

  const int expert_jobs = job.gated ? 0 : job.n_pairs() * job.experts.slices;
  const int n_jobs = job.gated ? 1 : expert_jobs + (job.dense.n > 0 ? job.dense.slices : 0);
  Columns columns = all_columns(job.n_tokens);
  for (int j = warp % job.split; j < n_jobs; j += job.split) {
    if (!job.gated) pair = j < expert_jobs ? j / job.experts.slices : -1;
    const Stack& stack = pair >= 0 ? job.experts : job.dense;
    int matrix = int(blockIdx.y);
    if (pair >= 0) {
      columns = columns_of_pair(job.ids, job.n_tokens, job.n_activated, pair);
      matrix = job.ids[pair];
      if (job.slots) matrix = job.slots[matrix];
      if (matrix < 0) columns.n = 0;
      if (columns.n == 0) continue;
    } else {
      columns = all_columns(job.n_tokens);
    }

    // The slice of the row, and its first copy.
    const int pieces = (stack.k + P::kPieceWeights - 1) / P::kPieceWeights;
    const int slice = job.gated ? 0 : pair >= 0 ? j % stack.slices : j - expert_jobs;
    const int begin = pieces * slice / stack.slices * P::kPieceWeights;
    const int end = min(stack.k, pieces * (slice + 1) / stack.slices * P::kPieceWeights);
    const int row = min(block_row + row_in_block, stack.n - 1);
    const std::byte* bytes = stack.weights[which] + matrix * stack.matrix_stride[which] + row * stack.row_bytes;
    RowHeader<Block> header;
    header.load(bytes);
    Feed<Block> feed(bytes + int(kHeaderBytes<Block>) + begin / P::kElems * P::kSize,
                     (end - begin) / P::kElems * P::kSize, shared + warp * P::kStageBytes + slot * P::kSlot);
    const std::byte* first_piece = feed.copy();

    // The activations. Where the block prepares them, every warp has a job, so all warps reach the barrier.
    const int row_bytes = int(prepared_bytes(kFloatProducts<Block>, stack.k));
    int column[NT];
    const std::byte* rows =
        job.x ? own_rows : stack.rows + int64_t(matrix) * (pair >= 0 ? 0 : job.n_tokens) * row_bytes;
    GPU_UNROLL
    for (int c = 0; c < NT; ++c) {
      column[c] = (job.x ? c : __shfl_sync(kAllLanes, job.gated ? columns.token : columns.row, c)) * row_bytes;
    }
    if (job.x && j < job.split) {
      for (int c = 0; c < columns.n; ++c) {
        const int64_t token = __shfl_sync(kAllLanes, columns.token, c);
        const float* x = job.x + token * job.x_token + (pair >= 0 ? 0 : matrix * job.x_matrix);
        prepare<kFloatProducts<Block>>(x, stack.k, own_rows + c * row_bytes, int(threadIdx.x), kThreads);
      }
      __syncthreads();
    }

    float sums[NT] = {};
    multiply_slice<Block, NT>(header, feed, first_piece, unsigned(begin), unsigned(end), unsigned(stack.k), rows,
                              column, columns.n, sums);
    const int of_lane = __shfl_sync(kAllLanes, columns.token, lane % 8);
    const int row_of_lane = __shfl_sync(kAllLanes, columns.row, lane % 8);
    const float weight = !job.gated && pair >= 0 && lane % 8 < columns.n ? job.weights[row_of_lane] : 1.0f;
    add_to_part<NT>(sums, columns.n, job.gated ? lane % 8 : of_lane, weight, part);
    __syncwarp();
  }
  __syncthreads();

  if (!job.gated) {
    store_sum(job, parts, block_row, (job.dense.n > 0 ? job.dense : job.experts).n, int(blockIdx.y));
  } else if (columns.n > 0) {
    store_hidden(job, pair >= 0 ? job.experts : job.dense, parts, block_row, columns);
  }
}

template <class Block>
void launch_products(const Job& job, dim3 grid, int64_t own_row_bytes, const Queue& queue) {
  const size_t shared = shared_bytes<Block>(own_row_bytes);
  if (job.n_tokens == 1) {
    launch("matmul_vec", vec_kernel<Block, 1>, grid, dim3(kThreads), shared, queue, job);
  } else {
    launch("matmul_vec", vec_kernel<Block, kMaxColumns>, grid, dim3(kThreads), shared, queue, job);
  }
}

}  // namespace hearth::gpu::vec
