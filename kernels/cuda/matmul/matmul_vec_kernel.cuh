// The kernel of all operations of matmul_vec.h: rows of weights times few columns of activations.
//
// A block has 8 warps, a warp 4 rows (or 2 of gate and the same 2 of up). The bytes of a row are copied into shared
// memory asynchronously, 16 bytes per copy, the next piece while this one is multiplied: copies are coalesced and
// aligned whatever the size of the format's blocks (18 or 210 bytes), and bytes in flight need no registers. Of a
// piece, a lane takes a unit (weight_unit.cuh) of two rows, unpacks it once and multiplies it with every column:
// weights of an integer format by dp4a with activations in 16 bits, as two bytes each; float weights in float
// (matmul_vec_loop.cuh).
//
// The work on a row is divided into jobs: slices of k, or the chosen experts. The warps of a block that have the same
// rows take turns at the jobs; their sums are added in shared memory, in an order that does not depend on timing. There
// are two kinds of launches:
//   gated  silu(gate x) * up x of one expert or of the shared ones -> hidden rows, prepared for the next launch;
//   sum    y = the sum over all jobs, each weighted as the router says.
//
// Bound: the bytes of the weights, if there are neither too many instructions nor too many wavefronts of shared memory.
// At an H200's memory bandwidth a multiprocessor has time for about 3.5 instructions for each weight of 4.5 bits, 5 for
// each of 6.5, and for a wavefront for every 20 bytes. The compiler makes 2.9 instructions for a Q4_K weight with one
// column and 24 wavefronts for 576 bytes, 4.6 for a Q6_K one, and about 10 with eight columns, which so take about
// three times as long as one (docs/measurements.md, counted). Activations of 8 bits would save 0.4 instructions for
// each column, and cost the accuracy that docs/measurements.md shows. Not run on a GPU yet.
#pragma once

#include <type_traits>

#include "kernels/cuda/matmul/matmul_vec_loop.cuh"
#include "kernels/cuda/matmul/matmul_vec_prepare.cuh"

namespace hearth::gpu::vec {

inline constexpr int kPartBytes = kWarps * kWarpRows * kMaxColumns * int(sizeof(float));

template <class Block>
size_t shared_bytes(int64_t prepared) {
  return size_t(kWarps) * Piece<Block>::kStageBytes + kPartBytes + size_t(prepared);
}

// ---- The columns that are multiplied with a matrix

// n columns; lane c < n has column c's token and the number of its row of activations (for experts: the pair t K + j).
struct Columns {
  int n, token, row;
};

template <int NT>
GPU_FN Columns all_columns(int n_tokens) {
  if constexpr (NT == 1) return {1, 0, 0};
  return {n_tokens, lane_of_thread(), lane_of_thread()};
}

// What lane c has.
template <int NT>
GPU_FN int of_column(int value, int c) {
  if constexpr (NT == 1) return value;  // all have the same
  return __shfl_sync(kAllLanes, value, c);
}

// The tokens that chose the expert of a pair, if this is the first pair with that expert; otherwise none. (If a token
// had chosen an expert twice, the second choice would be handled by itself.)
template <int NT>
GPU_FN Columns columns_of_pair(const int32_t* ids, int n_tokens, int n_activated, int pair) {
  if constexpr (NT == 1) return {1, 0, pair};
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
GPU_FN void add_to_part(const Sums<NT>& sums, int n, int place, float weight, float* part) {
  const int lane = lane_of_thread(), mine = lane % 8;  // lanes that share rows: the first half has the first row
  float value = 0;
  GPU_UNROLL
  for (int c = 0; c < NT; ++c) {
    if (c >= n) break;
    const float first = warp_sum<kLanes>(sums[c][0]), second = warp_sum<kLanes>(sums[c][1]);
    if (c == mine) value = lane % kLanes < 8 ? first : second;
  }
  if (mine < n) part[lane / 8 * kMaxColumns + place] += weight * value;
}

// y from the parts of all warps; each job.split() warps have the same rows.
GPU_FN void store_sum(const Job& job, const float* parts, int first_row, int n, int matrix) {
  const int bits = 5 - job.split_bits, thread = int(threadIdx.x);  // of the number of rows
  static_assert(kWarps * kWarpRows == 1 << 5);
  const int r = thread & ((1 << bits) - 1), t = thread >> bits, row = first_row + r;
  if (t >= job.n_tokens || row >= n) return;
  float sum = 0;
  for (int s = 0; s < job.split(); ++s) {
    sum += parts[(((r / kWarpRows << job.split_bits) + s) * kWarpRows + r % kWarpRows) * kMaxColumns + t];
  }
  float& y = job.y[t * job.y_token + matrix * job.y_matrix + row];
  y = job.add ? y + sum : sum;
}

// Stores the hidden rows, prepared for the launch that multiplies them with down. 16 lanes have the 16 values of a
// group.
template <int NT>
GPU_FN void store_hidden(const Job& job, const Stack& stack, const float* parts, int first_row, Columns columns) {
  const bool pair = stack.weights[1] != nullptr;
  const int bits = pair ? 4 : 5, thread = int(threadIdx.x);  // of the number of rows
  const int r = thread & ((1 << bits) - 1), c = thread >> bits, row = first_row + r;
  const int64_t to = of_column<NT>(columns.row, c % 8);
  const bool there = c < columns.n && row < stack.n;
  float gate = 0, up = 0;
  if (pair) {
    const float* part = parts + 2 * r * kMaxColumns + c % 8;
    gate = part[0];
    up = part[kMaxColumns];
  } else {
    up = parts[r * kMaxColumns + c % 8];
    if (there && !job.gate_second) stack.gate_only[to * stack.n + row] = up;
    if (!job.gate_second) return;
    if (there) gate = stack.gate_only[to * stack.n + row];
  }
  const float hidden[1] = {there ? gate / (1 + exp_fast(-gate)) * up : 0.0f};
  std::byte* out = stack.hidden + to * prepared_bytes(stack.hidden_apart, stack.n);
  if (stack.hidden_apart == kFloatRows) {
    if (c < columns.n && row < (stack.n + 7) / 8 * 8) {
      reinterpret_cast<float*>(out)[float_at(unsigned(row))] = hidden[0];
    }
    return;
  }
  int q[1];
  const GroupScale group = quantize<16>(hidden, q);
  if (!there) return;
  const GroupPlace place = GroupPlace::of(unsigned(row) / 16, unsigned(stack.hidden_apart));
  auto* levels = reinterpret_cast<uint8_t*>(out) + place.level_at() + row % 16;
  levels[0] = uint8_t(high_byte(q[0]));
  levels[kLowBytes] = uint8_t(low_byte(q[0]));
  if (row % 16 == 0) *reinterpret_cast<GroupScale*>(out + place.scale_at()) = group;
}

// With three blocks a thread has 80 registers, too few for Q3_K's decoder, for lookups in long tables, and by two for
// Q5_K with activations in global memory, whose loads the compiler moves far ahead.
template <class Block, bool in_shared>
inline constexpr bool kManyRegisters = std::is_same_v<Block, BlockQ3_K> ||
                                       (std::is_same_v<Block, BlockQ5_K> && !in_shared) || requires {
  typename Block::Levels;
};
template <class Block, int NT, bool in_shared>
inline constexpr int kBlocksPerProcessor = NT == 1 && !kManyRegisters<Block, in_shared> ? 3 : 2;

// in_shared: the block prepares its activations in shared memory (Job::x). With several columns this is not known when
// compiling; pointers may then be either's.
template <class Block, int NT, bool in_shared>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor<Block, NT, in_shared>)
    vec_kernel(const __grid_constant__ Job job) {
  using P = Piece<Block>;
  GPU_DYNAMIC_SHARED(std::byte, shared);
  const int warp = warp_of_thread(), lane = lane_of_thread();
  auto* parts = reinterpret_cast<float*>(shared + kWarps * P::kStageBytes);
  std::byte* own_rows = shared + kWarps * P::kStageBytes + kPartBytes;
  float* part = parts + warp * kWarpRows * kMaxColumns;
  part[lane] = 0;
  __syncwarp();

  // The rows of this block and this warp. In gated launches the blocks of experts come first, pair by pair, then the
  // dense ones.
  const bool two = job.gated && (job.dense.n > 0 ? job.dense : job.experts).weights[1] != nullptr;
  const int warp_rows = two ? 2 : kWarpRows, block_rows = (kWarps >> job.split_bits) * warp_rows;
  int block = int(blockIdx.x), pair = -1;
  if (job.gated && job.experts.n > 0) {
    const int of_pair = (job.experts.n + block_rows - 1) >> (two ? 4 : 5);  // gated rows are not split
    if (block < of_pair * job.n_pairs()) {
      pair = block / of_pair;
      block %= of_pair;
    } else {
      block -= of_pair * job.n_pairs();
    }
  }
  const int first_row = block * block_rows + (warp >> job.split_bits) * warp_rows;  // the warp's

  const int expert_jobs = job.gated ? 0 : job.n_pairs();
  const int n_jobs = job.gated ? 1 : expert_jobs + (job.dense.n > 0 ? job.dense.slices : 0);
  Columns columns = all_columns<NT>(job.n_tokens);
  for (int j = warp & (job.split() - 1); j < n_jobs; j += job.split()) {
    if (!job.gated) pair = j < expert_jobs ? j : -1;
    const Stack& stack = pair >= 0 ? job.experts : job.dense;
    int matrix = int(blockIdx.y);
    if (pair >= 0) {
      columns = columns_of_pair<NT>(job.ids, job.n_tokens, job.n_activated, pair);
      matrix = job.ids[pair];
      if (job.slots) matrix = job.slots[matrix];
      if (matrix < 0) columns.n = 0;
      if (columns.n == 0) continue;
    } else {
      columns = all_columns<NT>(job.n_tokens);
    }

    // The slice of the row, and its first copy.
    int begin = 0, end = stack.k;
    if (!job.gated && pair < 0 && stack.slices > 1) {
      const auto pieces = unsigned(stack.k + P::kPieceWeights - 1) / P::kPieceWeights,
                 slice = unsigned(j - expert_jobs);
      begin = int(pieces * slice / unsigned(stack.slices)) * P::kPieceWeights;
      end = min(end, int(pieces * (slice + 1) / unsigned(stack.slices)) * P::kPieceWeights);
    }
    const auto row_of_warp = [&](int r) {  // of two matrices their rows lie in turn
      const int which = two ? r % 2 : 0, row = min(first_row + (two ? r / 2 : r), stack.n - 1);
      return stack.weights[which] + matrix * stack.matrix_stride[which] + row * stack.row_bytes;
    };
    Rows<Block> rows(row_of_warp, int(kHeaderBytes<Block>) + begin / P::kElems * P::kSize,
                     (end - begin) / P::kElems * P::kSize, shared + warp * P::kStageBytes);

    // The activations. Where the block prepares them, every warp has a job, so all warps reach the barrier.
    const int row_bytes = int(prepared_bytes(kApart<Block>, stack.k));
    const bool own = NT == 1 ? in_shared : job.x != nullptr;
    const std::byte* activations = own_rows;
    if (!own) activations = stack.rows + int64_t(matrix) * (pair >= 0 ? 0 : job.n_tokens) * row_bytes;
    int column[NT];
    GPU_UNROLL
    for (int c = 0; c < NT; ++c) {
      column[c] = (own ? c : of_column<NT>(job.gated ? columns.token : columns.row, c)) * row_bytes;
    }
    if (own && j < job.split()) {
      for (int c = 0; c < columns.n; ++c) {
        const int64_t token = of_column<NT>(columns.token, c);
        const float* x = job.x + token * job.x_token + (pair >= 0 ? 0 : matrix * job.x_matrix);
        prepare(x, stack.k, kApart<Block>, own_rows + c * row_bytes, int(threadIdx.x), kThreads);
      }
      __syncthreads();
    }

    Sums<NT> sums = {};
    multiply_rows<Block, NT>(rows, activations + prepared_bytes(kApart<Block>, begin), column, columns.n, sums);
    const int of_lane = of_column<NT>(columns.token, lane % 8);
    const int row_of_lane = of_column<NT>(columns.row, lane % 8);
    const float weight = !job.gated && pair >= 0 && lane % 8 < columns.n ? job.weights[row_of_lane] : 1.0f;
    add_to_part<NT>(sums, columns.n, job.gated ? lane % 8 : of_lane, weight, part);
    __syncwarp();
  }
  __syncthreads();

  if (!job.gated) {
    store_sum(job, parts, block * block_rows, (job.dense.n > 0 ? job.dense : job.experts).n, int(blockIdx.y));
  } else if (columns.n > 0) {
    store_hidden<NT>(job, pair >= 0 ? job.experts : job.dense, parts, block * block_rows, columns);
  }
}

template <class Block>
void launch_products(const Job& job, dim3 grid, int64_t own_row_bytes, const Queue& queue) {
  const size_t shared = shared_bytes<Block>(own_row_bytes);
  if (job.n_tokens > 1) {
    launch("matmul_vec", vec_kernel<Block, kMaxColumns, false>, grid, dim3(kThreads), shared, queue, job);
  } else if (job.x) {
    launch("matmul_vec", vec_kernel<Block, 1, true>, grid, dim3(kThreads), shared, queue, job);
  } else {
    launch("matmul_vec", vec_kernel<Block, 1, false>, grid, dim3(kThreads), shared, queue, job);
  }
}

}  // namespace hearth::gpu::vec
