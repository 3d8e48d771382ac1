// The kernel of all operations of matmul_vec.h: rows of weights times one token's activations.
//
// A block has 8 warps, a warp 4 rows (or 2 of gate and the same 2 of up). The bytes of a row are copied into shared
// memory asynchronously, 16 bytes per copy, the next piece while this one is multiplied: copies are coalesced and
// aligned whatever the size of the format's blocks (18 or 210 bytes), and bytes in flight need no registers. Of a
// piece, a lane takes a unit (weight_unit.cuh) of two rows, unpacks it and multiplies it: weights of an integer format
// by dp4a with activations in 16 bits, as two bytes each; float weights in float (matmul_vec_loop.cuh).
//
// The work on a row is divided into jobs: slices of k, or the chosen experts. The warps of a block that have the same
// rows take turns at the jobs; their sums are added in shared memory, in an order that does not depend on timing. There
// are three kinds of launches (matmul_vec_job.h). What is cheap beside them is done in them, for a launch of its own
// costs more: a norm or a merge before the product, a rotation or the next launch's preparation behind it.
//
// Bound: the bytes of the weights, if there are neither too many instructions nor too many wavefronts of shared memory.
// At an H200's memory bandwidth a multiprocessor has time for about 3.5 instructions for each weight of 4.5 bits, 5 for
// each of 6.5, and for a wavefront for every 20 bytes. The compiler makes 2.9 instructions for a Q4_K weight and 24
// wavefronts for 576 bytes, 4.8 for a Q6_K one (docs/measurements.md, counted). Activations of 8 bits would save 0.4
// instructions, and cost the accuracy that docs/measurements.md shows. Not run on a GPU yet.
#pragma once

#include <type_traits>

#include "kernels/cuda/attention/latent_row.cuh"
#include "kernels/cuda/matmul/matmul_vec_input.cuh"
#include "kernels/cuda/matmul/matmul_vec_loop.cuh"

namespace hearth::gpu::vec {

static_assert(kLatentThreads == kThreads);

// ---- What happens to a block's sums. All of it is the first warp's, whose lanes have a row each.

// A row's sum, from the parts of the warps that share it.
GPU_FN float sum_of_parts(const float* parts, int split_bits, int r) {
  float sum = 0;
  for (int s = 0; s < 1 << split_bits; ++s) {
    sum += parts[((r / kWarpRows << split_bits) + s) * kWarpRows + r % kWarpRows];
  }
  return sum;
}

// `value` is value i of a row of n, which is prepared at `out`, by all lanes; 16 have the 16 values of a group. `mine`:
// the lane has a value, if there is one: `there`.
GPU_FN void store_prepared(float value, unsigned i, bool mine, bool there, int n, Apart apart, std::byte* out) {
  if (apart == kFloatRows) {
    if (mine && int(i) < (n + 7) / 8 * 8) reinterpret_cast<float*>(out)[float_at(i)] = there ? value : 0.0f;
    return;
  }
  const float values[1] = {there ? value : 0.0f};
  int q[1];
  const GroupScale group = quantize<16>(values, q);
  if (!there) return;
  const GroupPlace place = GroupPlace::of(i / 16, unsigned(apart));
  auto* levels = reinterpret_cast<uint8_t*>(out) + place.level_at() + i % 16;
  levels[0] = uint8_t(high_byte(q[0]));
  levels[kLowBytes] = uint8_t(low_byte(q[0]));
  if (i % 16 == 0) *reinterpret_cast<GroupScale*>(out + place.scale_at()) = group;
}

// The value of a row of q, rotated if it is one of those of its head that are. The other of the pair is the next lane's
// or the one's before.
GPU_FN float rotated(const Rotation& rotation, int row, float value) {
  const float other = __shfl_xor_sync(kAllLanes, value, 1);
  const int dr = int(rotation.table.rope_dim), i = row % rotation.head_dim - (rotation.head_dim - dr);
  if (i < 0) return value;
  const float* angle = rotation.table.cos_sin + int64_t(*rotation.position) * dr + i / 2 * 2;
  return i % 2 == 0 ? value * angle[0] - other * angle[1] : other * angle[1] + value * angle[0];
}

GPU_FN void store_sum(const Job& job, const Stack& stack, const float* parts, int first_row, int matrix) {
  const int r = int(threadIdx.x), row = first_row + r;
  const bool mine = r < kWarps * kWarpRows >> job.split_bits, there = mine && row < stack.n;
  float value = there ? sum_of_parts(parts, job.split_bits, r) : 0.0f;
  if (stack.output == Output::prepared) {  // n is a multiple of 16: nothing to fill up
    store_prepared(value, unsigned(matrix * stack.n + row), there, there, int(gridDim.y) * stack.n,
                   stack.prepared_apart, stack.prepared);
    return;
  }
  if (stack.output == Output::rotated) value = rotated(job.rotation, row, value);
  if (!there) return;
  float& y = stack.y[matrix * stack.y_matrix + row];
  y = job.add ? y + value : value;
}

// Stores the hidden rows, prepared for the launch that multiplies them with down. pair: of the expert; negative: dense.
GPU_FN void store_hidden(const Job& job, const Stack& stack, const float* parts, int first_row, int pair) {
  const bool two = stack.weights[1] != nullptr;
  const int r = int(threadIdx.x), row = first_row + r;
  const bool mine = r < kWarps * kWarpRows >> int(two), there = mine && row < stack.n;
  const int64_t to = max(pair, 0);
  float gate = 0, up = 0;
  if (two) {
    gate = mine ? parts[2 * r] : 0.0f;
    up = mine ? parts[2 * r + 1] : 0.0f;
  } else {
    up = parts[r];
    if (there && !job.gate_second) stack.gate_only[to * stack.n + row] = up;
    if (!job.gate_second) return;
    if (there) gate = stack.gate_only[to * stack.n + row];
  }
  store_prepared(gate / (1 + exp_fast(-gate)) * up, unsigned(row), mine, there, stack.n, stack.prepared_apart,
                 stack.prepared + to * prepared_bytes(stack.prepared_apart, stack.n));
}

// ---- The kernel

// With three blocks a thread has 80 registers, too few for lookups in long tables, by two for Q5_K with activations in
// global memory, whose loads the compiler moves far ahead, and for one kernel with several formats.
template <class Block, bool in_shared>
inline constexpr bool kManyRegisters = (std::is_same_v<Block, BlockQ5_K> && !in_shared) || requires {
  typename Block::Levels;
};
template <class Formats, bool in_shared>
inline constexpr int kBlocksPerProcessor = 2;
template <class Row, bool in_shared>
inline constexpr int kBlocksPerProcessor<FormatList<Row>, in_shared> =
    kManyRegisters<typename Row::Block, in_shared> ? 2 : 3;

// Formats: of the launch's matrices. in_shared: the block prepares its row in shared memory; else all are prepared.
template <class Formats, bool in_shared>
__global__ void __launch_bounds__(kThreads, kBlocksPerProcessor<Formats, in_shared>)
    vec_kernel(const __grid_constant__ Job job) {
  launch_dependents();
  GPU_DYNAMIC_SHARED(std::byte, shared);
  GPU_SHARED(float, partial, kMaxWarps);
  const int warp = warp_of_thread(), lane = lane_of_thread();
  auto* parts = reinterpret_cast<float*>(shared + kWarps * job.stage_bytes);
  std::byte* own_row = shared + kWarps * job.stage_bytes + kPartBytes;
  float* part = parts + warp * kWarpRows;

  // The matrix and the rows of this block. In gated launches the blocks of experts come first, pair by pair, then the
  // dense ones.
  const Stack* stack = &job.dense;
  const bool gated = job.kind == Kind::gated;
  int block = int(blockIdx.x), pair = -1;
  if (job.kind == Kind::product && blockIdx.x >= job.beside_from) {
    stack = &job.beside;
    block -= int(job.beside_from);
  } else if (gated && job.experts.n > 0) {
    const int bits = job.experts.weights[1] ? 4 : 5, of_pair = (job.experts.n + (1 << bits) - 1) >> bits;
    if (block < of_pair * job.n_activated) {
      pair = block / of_pair;
      block %= of_pair;
      stack = &job.experts;
    } else {
      block -= of_pair * job.n_activated;
    }
  }
  const bool two = gated && stack->weights[1] != nullptr;
  const int warp_rows = two ? 2 : kWarpRows, block_rows = (kWarps >> job.split_bits) * warp_rows;

  const int expert_jobs = job.kind == Kind::sum ? job.n_activated : 0;
  const int n_jobs = gated ? 1 : expert_jobs + (stack->n > 0 ? stack->slices : 0);
  const int n_rows = job.kind == Kind::sum && stack->n == 0 ? job.experts.n : stack->n;
  bool absent = false;  // the expert of a gated launch is not in this memory
  for (int turn = 0; turn < job.turns; ++turn) {
    const int block_row = (block * job.turns + turn) * block_rows;
    if (block_row >= n_rows) break;
    const int first_row = block_row + (warp >> job.split_bits) * warp_rows;  // the warp's
    if (lane < kWarpRows) part[lane] = 0;
    __syncwarp();
    for (int j = warp & (job.split() - 1); j < n_jobs; j += job.split()) {
      if (job.kind == Kind::sum) {
        pair = j < expert_jobs ? j : -1;
        stack = pair >= 0 ? &job.experts : &job.dense;
      }
      int matrix = int(blockIdx.y);
      if (pair >= 0) {
        wait_for_earlier();  // for the ids
        matrix = job.ids[pair];
        if (job.slots) matrix = job.slots[matrix];
        absent = matrix < 0;
        if (absent) continue;
      }
      with_format(Formats{}, stack->format, [&]<class Block>() {
        using P = Piece<Block>;
        // The slice of the row, and its first copy.
        int begin = 0, end = stack->k;
        if (!gated && pair < 0 && stack->slices > 1) {
          const auto pieces = unsigned(stack->k + P::kPieceWeights - 1) / P::kPieceWeights,
                     slice = unsigned(j - expert_jobs);
          begin = int(pieces * slice / unsigned(stack->slices)) * P::kPieceWeights;
          end = min(end, int(pieces * (slice + 1) / unsigned(stack->slices)) * P::kPieceWeights);
        }
        const auto row_of_warp = [&](int r) {  // of two matrices their rows lie in turn
          const int which = two ? r % 2 : 0, row = min(first_row + (two ? r / 2 : r), stack->n - 1);
          return stack->weights[which] + matrix * stack->matrix_stride[which] + row * stack->row_bytes;
        };
        Rows<Block> rows(row_of_warp, int(kHeaderBytes<Block>) + begin / P::kElems * P::kSize,
                         (end - begin) / P::kElems * P::kSize, shared + warp * job.stage_bytes);

        wait_for_earlier();  // with the first weights of a matrix that is no expert's under way
        // The activations. Where the block prepares them, every warp has one job, so all reach the barrier.
        const std::byte* activations = own_row;
        if constexpr (in_shared) {
          if (turn == 0) {
            prepare_own(stack->input, pair >= 0 ? 0 : matrix, stack->k, kApart<Block>, own_row, partial);
            __syncthreads();
          }
        } else {
          const int row = pair >= 0 ? (gated ? 0 : pair) : matrix;
          activations = stack->input.rows + row * prepared_bytes(kApart<Block>, stack->k);
        }
        Sums sums = {};
        multiply_rows<Block>(rows, activations + prepared_bytes(kApart<Block>, begin), sums);
        const float weight = !gated && pair >= 0 ? job.weights[pair] : 1.0f;
        GPU_UNROLL
        for (int i = 0; i < kLaneRows; ++i) {
          const float sum = warp_sum<kLanes>(sums[i]);
          if (lane % kLanes == 0) part[lane / kLanes * kLaneRows + i] += weight * sum;
        }
      });
      __syncwarp();
    }
    wait_for_earlier();  // those without a job
    __syncthreads();
    if (warp == 0) {
      if (!gated) {
        store_sum(job, *stack, parts, block_row, int(blockIdx.y));
      } else if (!absent) {
        store_hidden(job, *stack, parts, block_row, pair);
      }
    }
    if (turn + 1 < job.turns) __syncthreads();  // the parts have been read
  }
  if (stack->output != Output::latent) return;
  const unsigned n_blocks = stack == &job.beside ? gridDim.x - job.beside_from : gridDim.x;
  if (!is_last_block(job.latent.finished, n_blocks)) return;
  const LatentRow& latent = job.latent;
  store_latent_row(stack->y, latent.norm, latent.eps, latent.table, latent.cache, latent.at, 0);
}

template <class Formats>
void launch_formats(const Job& job, dim3 grid, size_t shared_bytes, bool in_shared, const Queue& queue) {
  const auto kernel = in_shared ? vec_kernel<Formats, true> : vec_kernel<Formats, false>;
  launch_early("matmul_vec", kernel, grid, dim3(kThreads), shared_bytes, queue, job);
}

// The format's own kernel, if it is one of these.
template <class... Rows>
bool launch_one_of(FormatList<Rows...>, FormatId id, const Job& job, dim3 grid, size_t shared_bytes, bool in_shared,
                   const Queue& queue) {
  return ((Rows::id == id && (launch_formats<FormatList<Rows>>(job, grid, shared_bytes, in_shared, queue), true)) ||
          ...);
}

}  // namespace hearth::gpu::vec
